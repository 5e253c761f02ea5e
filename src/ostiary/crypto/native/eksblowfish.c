/* EksBlowfish after Provos and Mazieres, "A Future-Adaptable Password Scheme" (USENIX 1999), for several passwords at a time.
 *
 * One Blowfish is a chain: every step waits for the table look-ups of the step before, and most of the core lies idle. The same step
 * of other, independent computations fills it. Each lane has its own box, key and salt; none is read for another. */

#define _DEFAULT_SOURCE /* clock_gettime */
#include "eksblowfish.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pi.h"

enum { FINAL_BLOCKS = 64, SAMPLE_ROUNDS = 2, SAMPLES = 15 };

static const char ALPHABET[] = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/* "OrpheanBeholderScryDoubt" */
static const uint32_t TEXT[6] = {0x4f727068, 0x65616e42, 0x65686f6c, 0x64657253, 0x63727944, 0x6f756274};

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#define EACH_LANE UNROLL for (int lane = 0; lane < count; lane++)

INLINE uint32_t mixed(const uint32_t *box, uint32_t half) {
    const uint32_t *s0 = box + KEY_WORDS, *s1 = s0 + 256, *s2 = s1 + 256, *s3 = s2 + 256;
    return ((s0[half >> 24] + s1[half >> 16 & 255]) ^ s2[half >> 8 & 255]) + s3[half & 255];
}
/* Blowfish on one block in each lane. `count` is a constant wherever this is inlined, so that the halves stay in registers. */
INLINE void encipher(struct lane *lanes, int count, uint32_t *left, uint32_t *right) {
    EACH_LANE left[lane] ^= lanes[lane].box[0];
    UNROLL for (int step = 1; step < 17; step += 2) {
        EACH_LANE right[lane] ^= mixed(lanes[lane].box, left[lane]) ^ lanes[lane].box[step];
        EACH_LANE left[lane] ^= mixed(lanes[lane].box, right[lane]) ^ lanes[lane].box[step + 1];
    }
    EACH_LANE {
        uint32_t kept = right[lane] ^ lanes[lane].box[17];
        right[lane] = left[lane];
        left[lane] = kept;
    }
}

/* The box replaced by the encipherment of nothing, block after block, each under what has been replaced so far. */
INLINE void churn(struct lane *lanes, int count) {
    uint32_t left[MOST_LANES] = {0}, right[MOST_LANES] = {0};
    for (int word = 0; word < BOX_WORDS; word += 2) {
        encipher(lanes, count, left, right);
        EACH_LANE {
            lanes[lane].box[word] = left[lane];
            lanes[lane].box[word + 1] = right[lane];
        }
    }
}

static void churn_compiled(struct lane *lanes, int count) {
    switch (count) {
        case 1: churn(lanes, 1); break;
        case 2: churn(lanes, 2); break;
        case 3: churn(lanes, 3); break;
        case 4: churn(lanes, 4); break;
        case 5: churn(lanes, 5); break;
        case 6: churn(lanes, 6); break;
        case 7: churn(lanes, 7); break;
        case 8: churn(lanes, 8); break;
        default: break;
    }
}

typedef void churner(struct lane *lanes, int count);

/* The faster of the two on this processor; they compute the same. */
static churner *_Atomic chosen_churner = churn_compiled;

static void advance(struct lane *lanes, int count, churner *churner) {
    if (count < LEAST_BY_HAND || count > MOST_BY_HAND) churner = churn_compiled;
    for (int lane = 0; lane < count; lane++)
        for (int word = 0; word < KEY_WORDS; word++) lanes[lane].box[word] ^= lanes[lane].key[word];
    churner(lanes, count);
    for (int lane = 0; lane < count; lane++) {
        for (int word = 0; word < KEY_WORDS; word++) lanes[lane].box[word] ^= lanes[lane].salt[word];
        lanes[lane].rounds_left--;
    }
    churner(lanes, count);
}

void lanes_advance(struct lane *lanes, int count) { advance(lanes, count, chosen_churner); }

void wipe(void *memory, size_t length) {
    memset(memory, 0, length);
    /* For all the compiler knows, this reads it. */
    __asm__ volatile("" : : "r"(memory) : "memory");
}

static uint32_t big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

void lane_begin(struct lane *lane, const struct setting *setting, const uint8_t *key, size_t length) {
    uint8_t cycled[MOST_KEY];
    memcpy(lane->box, PI_WORDS, sizeof lane->box);
    /* The key is the password and one NUL, over and over; bytes beyond the 72nd are never seen. */
    for (size_t at = 0; at < MOST_KEY; at++) cycled[at] = at % (length + 1) < length ? key[at % (length + 1)] : 0;
    for (int word = 0; word < KEY_WORDS; word++) {
        lane->key[word] = big_endian(cycled + 4 * word);
        lane->salt[word] = big_endian(setting->salt + 4 * (word % 4));
        lane->box[word] ^= lane->key[word];
    }
    wipe(cycled, sizeof cycled);
    uint32_t left = 0, right = 0;
    for (int word = 0; word < BOX_WORDS; word += 2) {
        left ^= lane->salt[word % 4];
        right ^= lane->salt[(word + 1) % 4];
        encipher(lane, 1, &left, &right);
        lane->box[word] = left;
        lane->box[word + 1] = right;
    }
    lane->rounds_left = (uint64_t)1 << setting->cost;
}

/* bcrypt's own Base64: three bytes are four characters, without padding. */
static void encode(char *text, const uint8_t *bytes, size_t length) {
    for (size_t at = 0; at < length; at += 3) {
        uint32_t group = (uint32_t)bytes[at] << 16;
        if (at + 1 < length) group |= (uint32_t)bytes[at + 1] << 8;
        if (at + 2 < length) group |= bytes[at + 2];
        *text++ = ALPHABET[group >> 18];
        *text++ = ALPHABET[group >> 12 & 63];
        if (at + 1 < length) *text++ = ALPHABET[group >> 6 & 63];
        if (at + 2 < length) *text++ = ALPHABET[group & 63];
    }
}

static int decode(uint8_t *bytes, const char *text, size_t length) {
    uint32_t held = 0;
    int bits = 0;
    for (size_t at = 0; at < length; at++) {
        const char *found = text[at] ? strchr(ALPHABET, text[at]) : NULL;
        if (!found) return -1;
        held = (held << 6 | (uint32_t)(found - ALPHABET)) & 0xffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            *bytes++ = (uint8_t)(held >> bits);
        }
    }
    return 0;
}

int setting_read(struct setting *setting, const char *text, size_t length) {
    if (length != SETTING_TEXT && length != HASH_TEXT) return -1;
    if (text[0] != '$' || text[1] != '2' || !text[2] || !strchr("aby", text[2]) || text[3] != '$' || text[6] != '$') return -1;
    if (text[4] < '0' || text[4] > '9' || text[5] < '0' || text[5] > '9') return -1;
    setting->version = text[2];
    setting->cost = (unsigned)(text[4] - '0') * 10 + (unsigned)(text[5] - '0');
    if (setting->cost < LEAST_COST || setting->cost > MOST_COST) return -1;
    return decode(setting->salt, text + 7, SETTING_TEXT - 7);
}

void lane_end(struct lane *lane, const struct setting *setting, char *text) {
    uint8_t digest[24];
    for (int word = 0; word < 6; word += 2) {
        uint32_t left = TEXT[word], right = TEXT[word + 1];
        for (int block = 0; block < FINAL_BLOCKS; block++) encipher(lane, 1, &left, &right);
        for (int byte = 0; byte < 4; byte++) {
            digest[4 * word + byte] = (uint8_t)(left >> (24 - 8 * byte));
            digest[4 * word + 4 + byte] = (uint8_t)(right >> (24 - 8 * byte));
        }
    }
    const char head[7] = {'$', '2', setting->version, '$', (char)('0' + setting->cost / 10), (char)('0' + setting->cost % 10), '$'};
    memcpy(text, head, sizeof head);
    encode(text + 7, setting->salt, SALT_BYTES);
    encode(text + SETTING_TEXT, digest, DIGEST_BYTES);
    wipe(digest, sizeof digest);
    wipe(lane, sizeof *lane);
}

static double cpu_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A way to compute, and the rounds per second of CPU that it was seen to do. */
struct way {
    churner *churner;
    int count;
    double speeds[SAMPLES];
};

static double speed(const struct way *way, struct lane *lanes) {
    double began = cpu_seconds();
    for (int round = 0; round < SAMPLE_ROUNDS; round++) advance(lanes, way->count, way->churner);
    return SAMPLE_ROUNDS * way->count / (cpu_seconds() - began);
}

static int by_speed(const void *one, const void *other) {
    double difference = *(const double *)one - *(const double *)other;
    return (difference > 0) - (difference < 0);
}

int lanes_use_hand(int is_wanted) {
    if (is_wanted && !hand_is_known()) return -1;
    chosen_churner = is_wanted ? churn_by_hand : churn_compiled;
    return 0;
}

int lanes_calibrate(void) {
    static const struct setting SETTING = {.version = 'b', .cost = LEAST_COST};
    struct lane lanes[MOST_LANES];
    struct way ways[2 * MOST_LANES];
    int known = 0;
    for (int count = 1; count <= MOST_LANES; count++) ways[known++] = (struct way){churn_compiled, count, {0}};
    for (int count = LEAST_BY_HAND; count <= MOST_BY_HAND && hand_is_known(); count++)
        ways[known++] = (struct way){churn_by_hand, count, {0}};
    for (int lane = 0; lane < MOST_LANES; lane++)
        lane_begin(&lanes[lane], &SETTING, (const uint8_t *)"calibration", (size_t)lane);
    /* In turns: what disturbs lasts for longer than one way is tried. The median, since it comes and goes. */
    for (int sample = 0; sample < SAMPLES; sample++)
        for (int at = 0; at < known; at++) ways[at].speeds[sample] = speed(&ways[at], lanes);
    for (int at = 0; at < known; at++) qsort(ways[at].speeds, SAMPLES, sizeof(double), by_speed);
    struct way *chosen = &ways[0];
    for (int at = 1; at < known; at++)
        if (ways[at].speeds[SAMPLES / 2] >= chosen->speeds[SAMPLES / 2]) chosen = &ways[at];
    lanes_use_hand(chosen->churner == churn_by_hand);
    return chosen->count;
}
