"""Check-your-mail: what every page shows that has, perhaps, had a mail sent; and another mail for whoever got none."""

from __future__ import annotations

CHECK_MAIL = "/check-mail"
MAIL_NOTE = "mail"
