/* Counts what sessions allocate: allocation MODEL.ylb
 * Linked with --wrap, so that every call of the allocator, the library's too, goes through here. */
#include <stdatomic.h>
#include <stdlib.h>

#include "check.h"

static atomic_size_t allocations;

#define COUNTED(name, parameters, arguments)  \
    void *__real_##name parameters;           \
    void *__wrap_##name parameters;           \
    void *__wrap_##name parameters            \
    {                                         \
        atomic_fetch_add(&allocations, 1);    \
        return __real_##name arguments;       \
    }

COUNTED(malloc, (size_t size), (size))
COUNTED(calloc, (size_t count, size_t size), (count, size))
COUNTED(realloc, (void *old, size_t size), (old, size))
COUNTED(aligned_alloc, (size_t alignment, size_t size), (alignment, size))

int __real_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size);
int __wrap_posix_memalign(void **memory, size_t alignment, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __real_posix_memalign(memory, alignment, size);
}

/* A picture of any size and format, by its number. */
static ylb_picture some_picture(const unsigned char *pixels, unsigned number)
{
    ylb_picture picture = {pixels, 2 * (1 + number * 37 % 150), 2 * (1 + number * 53 % 100), 0, number % 7};
    return picture;
}

static void frames(const ylb_model *model, const unsigned char *pixels, const float *tensor, unsigned threads)
{
    ylb_session *session = new_session(model, threads, 1);
    const ylb_detection *found;
    const ylb_layer *layers;
    ylb_times times;
    /* More classes than there are, in every call others. */
    uint32_t classes[] = {0, 1, 2, 0, 1, 2, 7, 0xFFFFFFFF};
    size_t count, most = 0, before = allocations, length = (size_t)3 * ylb_model_input_width(model)
        * ylb_model_input_height(model);

    /* From the first frame on: more and more objects, in every size and format. */
    for (unsigned number = 0; number < 70; number++) {
        ylb_picture picture = some_picture(pixels, number);
        ylb_detect_options options = ylb_detect_options_default();
        options.confidence = number < 35 ? 0.9f - 0.025f * number : 0.0f;
        options.iou = number < 50 ? 0.45f : 1.0f;
        options.max_detections = number < 20 ? 10 : number < 40 ? 1000 : 0xFFFFFFFF;
        options.multi_label = number >= 60;
        options.classes = number % 3 == 1 ? classes : NULL;
        options.class_count = number % 3 == 1 ? number % 9 : 0;
        CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
        most = count > most ? count : most;
    }
    CHECK(most > 3000);
    CHECK(ylb_session_run_tensor(session, tensor, length) == YLB_OK);
    ylb_picture picture = some_picture(pixels, 3);
    CHECK(ylb_session_run(session, &picture) == YLB_OK);
    CHECK(ylb_session_times(session, &times) == YLB_OK && times.inference > 0);
    CHECK(ylb_session_layers(session, &layers, &count) == YLB_OK && count > 60);
    float x = 3, y = 4;
    CHECK(ylb_session_to_picture(session, &x, &y) == YLB_OK);
    if (allocations != before) {
        printf("%zu allocations on %u threads\n", (size_t)allocations - before, threads);
        failures++;
    }

    /* The count is of the library's calls, too: this allocates, as the header says. */
    ylb_output output;
    before = allocations;
    CHECK(ylb_session_output(session, 0, &output) == YLB_OK);
    CHECK(allocations > before);
    ylb_session_free(session);
}

int main(int argc, char **argv)
{
    ylb_model *model = NULL;
    CHECK(argc == 2 && ylb_model_open(argv[1], &model) == YLB_OK);
    if (failures)
        return 2;
    size_t size = 4 * 300 * 200;
    unsigned char *pixels = malloc(size);
    unsigned state = 1;
    for (size_t k = 0; k < size; k++) {
        state = state * 1664525u + 1013904223u;
        pixels[k] = (unsigned char)(state >> 24);
    }
    float *tensor = calloc((size_t)3 * ylb_model_input_width(model) * ylb_model_input_height(model), sizeof *tensor);
    for (unsigned threads = 1; threads <= 4; threads++)
        frames(model, pixels, tensor, threads);
    free(pixels);
    free(tensor);
    ylb_model_free(model);
    return verdict();
}
