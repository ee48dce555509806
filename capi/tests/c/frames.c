/* What can be read when: before a frame, after each kind of frame, and after calls that failed.
 * frames MODEL.ylb */
#include <math.h>
#include <stdlib.h>

#include "check.h"

static const ylb_times none = {0, 0, 0};

static int same_times(ylb_times a, ylb_times b)
{
    return a.preprocess == b.preprocess && a.inference == b.inference && a.postprocess == b.postprocess;
}

static void before_a_frame(const ylb_model *model)
{
    ylb_session *session = new_session(model, 1, 1);
    const ylb_layer *layers = NULL;
    size_t count = 77;
    CHECK(ylb_session_layers(session, &layers, &count) == YLB_OK && count == 0);
    ylb_output output = {NULL, 5, NULL, 6};
    CHECK(ylb_session_output(session, 0, &output) == YLB_ERROR_NO_FRAME);
    CHECK(strstr(ylb_last_error(), "run one first") != NULL);
    CHECK(output.data == NULL && output.length == 5 && output.shape == NULL && output.rank == 6);
    float x = 1, y = 2;
    CHECK(ylb_session_to_picture(session, &x, &y) == YLB_ERROR_NO_FRAME && x == 1 && y == 2);
    ylb_times times = {1, 1, 1};
    CHECK(ylb_session_times(session, &times) == YLB_OK && same_times(times, none));
    /* A first call that is refused is not a frame. */
    float wrong = 0.5f;
    CHECK(ylb_session_run_tensor(session, &wrong, 1) == YLB_ERROR_ARGUMENT);
    CHECK(ylb_session_output(session, 0, &output) == YLB_ERROR_NO_FRAME);
    ylb_session_free(session);
}

/* The tensor of some picture of the input's size. */
static float *some_tensor(const ylb_model *model, size_t *length)
{
    *length = (size_t)3 * ylb_model_input_width(model) * ylb_model_input_height(model);
    float *tensor = malloc(*length * sizeof *tensor);
    for (size_t k = 0; k < *length; k++)
        tensor[k] = (float)(k * 7 % 251) / 255.0f;
    return tensor;
}

static void a_tensor_is_its_own_picture(const ylb_model *model)
{
    ylb_session *session = new_session(model, 2, 1);
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    ylb_detect_options options = low();
    const ylb_detection *found;
    const ylb_layer *layers;
    size_t count, length;
    float *tensor = some_tensor(model, &length);
    float x = 31, y = 17;
    ylb_times times;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK && count > 0);
    CHECK(ylb_session_times(session, &times) == YLB_OK && times.postprocess > 0);
    CHECK(ylb_session_run_tensor(session, tensor, length) == YLB_OK);
    CHECK(ylb_session_times(session, &times) == YLB_OK);
    CHECK(times.preprocess > 0 && times.inference > 0 && times.postprocess == 0);
    CHECK(ylb_session_to_picture(session, &x, &y) == YLB_OK && x == 31 && y == 17);
    x = -5;
    y = 1e6f;
    CHECK(ylb_session_to_picture(session, &x, &y) == YLB_OK);
    CHECK(x == 0 && y == (float)ylb_model_input_height(model));
    double sum = 0;
    CHECK(ylb_session_layers(session, &layers, &count) == YLB_OK && count > 60);
    for (size_t i = 0; i < count; i++)
        sum += layers[i].seconds;
    CHECK(sum > 0 && sum <= times.inference);
    /* The picture again, of the same size as before: it is placed anew. */
    CHECK(ylb_session_run(session, &picture) == YLB_OK);
    x = ylb_model_input_width(model) / 2.0f;
    y = ylb_model_input_height(model) / 2.0f;
    CHECK(ylb_session_to_picture(session, &x, &y) == YLB_OK);
    CHECK(fabsf(x - WIDTH / 2.0f) < 0.01f && fabsf(y - HEIGHT / 2.0f) < 0.01f);
    CHECK(ylb_session_times(session, &times) == YLB_OK && times.preprocess > 0 && times.postprocess == 0);
    free(tensor);
    ylb_session_free(session);
}

/* Every call that is refused, in whatever way: none may change the last frame's results. */
static void refuse(ylb_session *session, float *tensor, size_t length)
{
    const ylb_detection *found = NULL;
    size_t count = 77;
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB), wrong = picture;
    ylb_detect_options options = low();
    options.confidence = 1.5f;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_ERROR_ARGUMENT);
    options.confidence = NAN;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_ERROR_ARGUMENT);
    options = low();
    options.iou = -0.1f;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_ERROR_ARGUMENT);
    options = low();
    options.class_count = 1;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_ERROR_NULL);
    CHECK(ylb_session_detect(session, &picture, NULL, &found, NULL) == YLB_ERROR_NULL);
    CHECK(ylb_session_detect(session, NULL, NULL, &found, &count) == YLB_ERROR_NULL);
    wrong.stride = 1;
    CHECK(ylb_session_detect(session, &wrong, NULL, &found, &count) == YLB_ERROR_ARGUMENT);
    CHECK(ylb_session_run(session, &wrong) == YLB_ERROR_ARGUMENT);
    wrong = picture;
    wrong.pixels = NULL;
    CHECK(ylb_session_run(session, &wrong) == YLB_ERROR_NULL);
    CHECK(ylb_session_run(session, NULL) == YLB_ERROR_NULL);
    CHECK(ylb_session_run_tensor(session, tensor, 1) == YLB_ERROR_ARGUMENT);
    CHECK(ylb_session_run_tensor(session, NULL, length) == YLB_ERROR_NULL);
    float last = tensor[length - 1];
    tensor[length - 1] = 0.4999f;
    CHECK(ylb_session_run_tensor(session, tensor, length) == YLB_ERROR_ARGUMENT);
    tensor[length - 1] = last;
    ylb_output output;
    CHECK(ylb_session_output(session, 1000, &output) == YLB_ERROR_ARGUMENT);
    CHECK(found == NULL && count == 77);
}

static void refused_calls_change_nothing(const ylb_model *model)
{
    ylb_session *session = new_session(model, 2, 0);
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    ylb_detect_options options = low();
    const ylb_detection *found;
    size_t count, length;
    float *tensor = some_tensor(model, &length);
    ylb_output output, again;
    ylb_times before, after;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK && count > 0);
    ylb_detection *kept = malloc(count * sizeof *kept);
    memcpy(kept, found, count * sizeof *kept);
    CHECK(ylb_session_times(session, &before) == YLB_OK);

    /* The output is restored when first asked for: also after the refusals. */
    refuse(session, tensor, length);
    CHECK(ylb_session_output(session, 0, &output) == YLB_OK);
    float *numbers = malloc(output.length * sizeof *numbers);
    memcpy(numbers, output.data, output.length * sizeof *numbers);
    refuse(session, tensor, length);
    CHECK(memcmp(numbers, output.data, output.length * sizeof *numbers) == 0);
    CHECK(ylb_session_output(session, 0, &again) == YLB_OK && again.data == output.data);
    CHECK(equal(kept, count, found, count));
    CHECK(ylb_session_times(session, &after) == YLB_OK && same_times(before, after));

    /* And they are what that picture gives. */
    ylb_session *other = new_session(model, 1, 0);
    CHECK(ylb_session_run(other, &picture) == YLB_OK && ylb_session_output(other, 0, &again) == YLB_OK);
    CHECK(memcmp(numbers, again.data, again.length * sizeof *numbers) == 0);
    ylb_session_free(other);
    free(kept);
    free(numbers);
    free(tensor);
    ylb_session_free(session);
}

/* Whose confidence is greater than the threshold stays; reported ones are rounded. */
static void thresholds(const ylb_model *model)
{
    ylb_session *session = new_session(model, 2, 0);
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    ylb_detect_options options = low();
    const ylb_detection *found;
    size_t count, all;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &all) == YLB_OK && all > 1);
    ylb_detection *every = malloc(all * sizeof *every);
    memcpy(every, found, all * sizeof *every);
    for (size_t i = 0; i < all; i += all / 10 + 1) {
        size_t above = 0, not_below = 0;
        for (size_t k = 0; k < all; k++) {
            above += every[k].confidence > every[i].confidence;
            not_below += every[k].confidence >= every[i].confidence;
        }
        options.confidence = every[i].confidence;
        CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
        CHECK(count >= above && count <= not_below && equal(found, count, every, count));
        /* Surely above and surely below what was rounded. */
        options.confidence = nextafterf(every[i].confidence, 1);
        CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK && count == above);
        options.confidence = nextafterf(every[i].confidence, 0);
        CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK && count == not_below);
    }
    options.confidence = 1;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK && count == 0);
    free(every);
    ylb_session_free(session);
}

int main(int argc, char **argv)
{
    ylb_model *model = NULL;
    CHECK(argc == 2 && ylb_model_open(argv[1], &model) == YLB_OK);
    if (failures)
        return 2;
    draw();
    before_a_frame(model);
    a_tensor_is_its_own_picture(model);
    refused_calls_change_nothing(model);
    thresholds(model);
    ylb_model_free(model);
    return verdict();
}
