/* What the test programs share: checks, and something to look at. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <string.h>
#include <yolo_lowbit.h>

static int failures;

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            printf("line %d: not so: %s (last error: %s)\n", __LINE__,          \
                   #condition, ylb_last_error());                               \
            failures++;                                                         \
        }                                                                       \
    } while (0)

enum { WIDTH = 200, HEIGHT = 150 };

static unsigned char rgb[HEIGHT][WIDTH][3];

/* Something to look at, the same on every machine: noise on discs. */
static inline void draw(void)
{
    unsigned state = 1;
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) {
                int dx = x % 50 - 25, dy = y % 50 - 25;
                state = state * 1664525u + 1013904223u;
                rgb[y][x][c] = (unsigned char)((dx * dx + dy * dy < 400 ? 150 - 40 * c : 220) + (state >> 29));
            }
}

static inline ylb_picture picture_of(const void *pixels, unsigned format)
{
    ylb_picture picture = {pixels, WIDTH, HEIGHT, 0, format};
    return picture;
}

/* Order and number of the boxes, and every coordinate. */
static inline int equal(const ylb_detection *a, size_t a_count, const ylb_detection *b, size_t b_count)
{
    return a_count == b_count && (a_count == 0 || memcmp(a, b, a_count * sizeof *a) == 0);
}

/* So low a threshold that there is something to find. */
static inline ylb_detect_options low(void)
{
    ylb_detect_options options = ylb_detect_options_default();
    options.confidence = 0.01f;
    return options;
}

static inline ylb_session *new_session(const ylb_model *model, unsigned threads, unsigned profile)
{
    ylb_session *session = NULL;
    ylb_session_options options = ylb_session_options_default();
    options.threads = threads;
    options.profile = profile;
    CHECK(ylb_session_new(model, &options, &session) == YLB_OK);
    return session;
}

/* The program's last words and its exit status. */
static inline int verdict(void)
{
    printf("%s\n", failures ? "failed" : "all as promised");
    return failures != 0;
}

#endif
