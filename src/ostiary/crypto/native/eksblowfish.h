/* bcrypt in lanes: several independent computations side by side in one thread. See docs/decisions/010-hashing-lanes.md. */
#ifndef OSTIARY_EKSBLOWFISH_H
#define OSTIARY_EKSBLOWFISH_H

#include <stddef.h>
#include <stdint.h>

enum {
    MOST_LANES = 8,
    MOST_KEY = 72,     /* bytes of a password that bcrypt looks at */
    SALT_BYTES = 16,
    DIGEST_BYTES = 23, /* of 24: the published format drops the last */
    SETTING_TEXT = 29, /* $2b$10$ and the salt */
    HASH_TEXT = 60,    /* the setting and the digest */
    LEAST_COST = 4,
    MOST_COST = 31,
    KEY_WORDS = 18,
    BOX_WORDS = 18 + 4 * 256,
    LEAST_BY_HAND = 3,
    MOST_BY_HAND = 5
};

/* One computation under way. The box is the P-array and behind it the four S-boxes. */
struct lane {
    _Alignas(64) uint32_t box[BOX_WORDS];
    uint32_t key[KEY_WORDS];
    uint32_t salt[KEY_WORDS];
    uint64_t rounds_left;
    uint64_t aside[2]; /* for churn_by_hand */
};

/* A hash's setting, read: `$2a$`, `$2b$` and `$2y$` are the same computation. */
struct setting {
    char version;
    unsigned cost;
    uint8_t salt[SALT_BYTES];
};

/* Reads a setting, or the setting of a hash. 0 when it is one, else -1. */
int setting_read(struct setting *setting, const char *text, size_t length);

/* Begins a lane: what is before the costly rounds. `key` is at most MOST_KEY bytes and may hold NUL. */
void lane_begin(struct lane *lane, const struct setting *setting, const uint8_t *key, size_t length);

/* One costly round in each of the first `count` lanes, 1 to MOST_LANES, whose `rounds_left` it counts down. */
void lanes_advance(struct lane *lanes, int count);

/* Ends a lane without rounds left: writes the hash's text, HASH_TEXT characters without NUL. */
void lane_end(struct lane *lane, const struct setting *setting, char *text);

/* Whether this processor can do `churn_by_hand`. */
int hand_is_known(void);

/* The box of each of the first `count` lanes, LEAST_BY_HAND to MOST_BY_HAND, replaced by the encipherment of nothing. */
void churn_by_hand(struct lane *lanes, int count);

/* The number of lanes from which more bring little on this processor, which it is then set for; takes some milliseconds. */
int lanes_calibrate(void);

/* Sets what `lanes_advance` computes with, as `lanes_calibrate` does by measuring. -1 when this processor cannot. */
int lanes_use_hand(int is_wanted);

/* Overwrites memory in a way that no compiler leaves out. */
void wipe(void *memory, size_t length);

#endif
