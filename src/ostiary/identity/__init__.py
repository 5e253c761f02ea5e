"""The core: who someone is and how they prove it. No HTTP, no JSON names, no dialect names."""
