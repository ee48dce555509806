/* What the header promises, one check after the other: contract MODEL.ylb
 * Prints each check that fails; exit status 1 if any did. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

enum { THREADS = 8 };

static ylb_model *model;

static void versions(void)
{
    char text[64];
    snprintf(text, sizeof text, "%d.%d.%d", YLB_VERSION_MAJOR, YLB_VERSION_MINOR, YLB_VERSION_PATCH);
    CHECK(strcmp(ylb_version(), YLB_VERSION) == 0);
    CHECK(strcmp(text, YLB_VERSION) == 0);
}

static void models(const char *path)
{
    ylb_model *other = NULL;
    CHECK(strcmp(ylb_last_error(), "") == 0);
    CHECK(ylb_model_open(NULL, &other) == YLB_ERROR_NULL);
    CHECK(strcmp(ylb_last_error(), "path is NULL") == 0);
    CHECK(ylb_model_open(path, NULL) == YLB_ERROR_NULL);
    CHECK(ylb_model_open("no/such/model.ylb", &other) == YLB_ERROR_IO);
    CHECK(strstr(ylb_last_error(), "no/such/model.ylb") != NULL);
    CHECK(ylb_model_from_bytes(NULL, 4, &other) == YLB_ERROR_NULL);
    CHECK(ylb_model_from_bytes(NULL, 0, &other) == YLB_ERROR_MODEL);
    CHECK(ylb_model_from_bytes((const uint8_t *)"no model", 8, &other) == YLB_ERROR_MODEL);
    CHECK(other == NULL);

    CHECK(ylb_model_input_width(model) % 32 == 0 && ylb_model_input_width(model) > 0);
    CHECK(ylb_model_input_height(model) % 32 == 0 && ylb_model_input_height(model) > 0);
    CHECK(ylb_model_class_count(model) == 3);
    CHECK(strcmp(ylb_model_class_name(model, 1), "WBC") == 0);
    CHECK(ylb_model_class_name(model, 3) == NULL);
    CHECK(ylb_model_output_count(model) > 0 && ylb_model_output_name(model, 0) != NULL);
    CHECK(ylb_model_output_name(model, ylb_model_output_count(model)) == NULL);

    CHECK(ylb_model_input_width(NULL) == 0 && ylb_model_input_height(NULL) == 0);
    CHECK(ylb_model_class_count(NULL) == 0 && ylb_model_output_count(NULL) == 0);
    CHECK(ylb_model_class_name(NULL, 0) == NULL && ylb_model_output_name(NULL, 0) == NULL);
    ylb_model_free(NULL);
}

static void bytes_of_a_file(const char *path)
{
    ylb_model *copy = NULL;
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(1 << 22);
    size_t length = file && bytes ? fread(bytes, 1, 1 << 22, file) : 0;
    CHECK(ylb_model_from_bytes(bytes, length, &copy) == YLB_OK);
    /* Neither the bytes nor the model are needed by a session. */
    free(bytes);
    ylb_session *session = NULL;
    CHECK(ylb_session_new(copy, NULL, &session) == YLB_OK);
    ylb_model_free(copy);
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    CHECK(ylb_session_run(session, &picture) == YLB_OK);
    ylb_session_free(session);
    if (file)
        fclose(file);
}

static void bad_arguments(ylb_session *session)
{
    const ylb_detection *found = NULL;
    size_t count = 77;
    ylb_session *other = NULL;
    ylb_session_options too_many = ylb_session_options_default();
    too_many.threads = 1025;
    CHECK(ylb_session_new(NULL, NULL, &other) == YLB_ERROR_NULL);
    CHECK(ylb_session_new(model, NULL, NULL) == YLB_ERROR_NULL);
    CHECK(ylb_session_new(model, &too_many, &other) == YLB_ERROR_ARGUMENT && other == NULL);
    ylb_session_free(NULL);

    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    CHECK(ylb_session_detect(NULL, &picture, NULL, &found, &count) == YLB_ERROR_NULL);
    CHECK(ylb_session_detect(session, NULL, NULL, &found, &count) == YLB_ERROR_NULL);
    CHECK(ylb_session_detect(session, &picture, NULL, NULL, &count) == YLB_ERROR_NULL);
    CHECK(ylb_session_detect(session, &picture, NULL, &found, NULL) == YLB_ERROR_NULL);
    ylb_picture wrong = picture;
    wrong.pixels = NULL;
    CHECK(ylb_session_detect(session, &wrong, NULL, &found, &count) == YLB_ERROR_NULL);
    wrong = picture;
    wrong.width = 0;
    CHECK(ylb_session_detect(session, &wrong, NULL, &found, &count) == YLB_ERROR_ARGUMENT);
    wrong = picture;
    wrong.stride = 3 * WIDTH - 1;
    CHECK(ylb_session_detect(session, &wrong, NULL, &found, &count) == YLB_ERROR_ARGUMENT);
    wrong = picture;
    wrong.format = 7;
    CHECK(ylb_session_detect(session, &wrong, NULL, &found, &count) == YLB_ERROR_ARGUMENT);
    CHECK(strstr(ylb_last_error(), "7") != NULL);
    wrong = picture;
    wrong.width = 199;
    wrong.format = YLB_PIXELS_NV12;
    CHECK(ylb_session_detect(session, &wrong, NULL, &found, &count) == YLB_ERROR_ARGUMENT);
    wrong = picture;
    wrong.width = wrong.height = 0xFFFFFFFF;
    CHECK(ylb_session_detect(session, &wrong, NULL, &found, &count) == YLB_ERROR_ARGUMENT);
    ylb_detect_options options = ylb_detect_options_default();
    options.confidence = 1.5f;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_ERROR_ARGUMENT);
    options = ylb_detect_options_default();
    options.class_count = 2;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_ERROR_NULL);
    CHECK(found == NULL && count == 77);

    ylb_output output;
    ylb_times times;
    const ylb_layer *layers;
    float x = 0;
    CHECK(ylb_session_run(NULL, &picture) == YLB_ERROR_NULL);
    CHECK(ylb_session_run_tensor(session, NULL, 3) == YLB_ERROR_NULL);
    CHECK(ylb_session_run_tensor(session, &x, 1) == YLB_ERROR_ARGUMENT);
    CHECK(ylb_session_output(session, 1000, &output) == YLB_ERROR_ARGUMENT);
    CHECK(ylb_session_output(session, 0, NULL) == YLB_ERROR_NULL);
    CHECK(ylb_session_output(NULL, 0, &output) == YLB_ERROR_NULL);
    CHECK(ylb_session_times(session, NULL) == YLB_ERROR_NULL);
    CHECK(ylb_session_times(NULL, &times) == YLB_ERROR_NULL);
    CHECK(ylb_session_layers(session, NULL, &count) == YLB_ERROR_NULL);
    CHECK(ylb_session_layers(NULL, &layers, &count) == YLB_ERROR_NULL);
    CHECK(ylb_session_to_picture(session, &x, NULL) == YLB_ERROR_NULL);
    CHECK(ylb_session_threads(NULL) == 0);
}

static void formats(ylb_session *session)
{
    static unsigned char bgr[HEIGHT][WIDTH + 5][3], rgba[HEIGHT][WIDTH][4], bgra[HEIGHT][WIDTH][4];
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            for (int c = 0; c < 3; c++) {
                bgr[y][x][2 - c] = rgb[y][x][c];
                rgba[y][x][c] = rgb[y][x][c];
                bgra[y][x][2 - c] = rgb[y][x][c];
            }
    ylb_detect_options options = low();
    const ylb_detection *found = NULL;
    size_t count = 0;
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    CHECK(count > 0);
    size_t expected_count = count;
    ylb_detection *expected = malloc((count + 1) * sizeof *expected);
    memcpy(expected, found, count * sizeof *expected);

    picture = picture_of(bgr, YLB_PIXELS_BGR);
    picture.stride = sizeof bgr[0];
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    CHECK(equal(found, count, expected, expected_count));
    picture = picture_of(rgba, YLB_PIXELS_RGBA);
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    CHECK(equal(found, count, expected, expected_count));
    picture = picture_of(bgra, YLB_PIXELS_BGRA);
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    CHECK(equal(found, count, expected, expected_count));

    for (size_t i = 0; i < expected_count; i++) {
        CHECK(expected[i].class_id < 3 && expected[i].confidence > 0.01f && expected[i].confidence <= 1);
        CHECK(expected[i].left >= 0 && expected[i].left <= expected[i].right && expected[i].right <= WIDTH);
        CHECK(expected[i].top >= 0 && expected[i].top <= expected[i].bottom && expected[i].bottom <= HEIGHT);
        CHECK(i == 0 || expected[i].confidence <= expected[i - 1].confidence);
    }

    /* Only some classes, and only some boxes. */
    uint32_t class_ids[] = {expected[0].class_id, 0xFFFFFFFF, expected[0].class_id, 3, expected[0].class_id};
    options.classes = class_ids;
    options.class_count = 1;
    options.max_detections = 1;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    CHECK(equal(found, count, expected, 1));
    /* Classes named twice, and such as there are not, change nothing. */
    options.class_count = 5;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    CHECK(equal(found, count, expected, 1));
    options.classes = &class_ids[1];
    options.class_count = 1;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK && count == 0);
    options.class_count = 0;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK && count == 0);
    options.classes = NULL;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK && count == 1);
    free(expected);

    /* Grey, and luma and chroma without colour, are the same picture but for the range of luma. */
    static unsigned char gray[HEIGHT][WIDTH], yuyv[HEIGHT][WIDTH][2], nv12[HEIGHT * 3 / 2][WIDTH];
    memset(nv12, 128, sizeof nv12);
    memset(yuyv, 128, sizeof yuyv);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            gray[y][x] = rgb[y][x][1];
            yuyv[y][x][0] = nv12[y][x] = rgb[y][x][1];
        }
    options = low();
    picture = picture_of(gray, YLB_PIXELS_GRAY8);
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    picture = picture_of(yuyv, YLB_PIXELS_YUYV);
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    expected_count = count;
    expected = malloc((count + 1) * sizeof *expected);
    memcpy(expected, found, count * sizeof *expected);
    picture = picture_of(nv12, YLB_PIXELS_NV12);
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    CHECK(equal(found, count, expected, expected_count));
    free(expected);
}

static void outputs_and_layers(ylb_session *session)
{
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    ylb_output output;
    CHECK(ylb_session_run(session, &picture) == YLB_OK);
    for (unsigned i = 0; i < ylb_model_output_count(model); i++) {
        CHECK(ylb_session_output(session, i, &output) == YLB_OK);
        size_t length = 1;
        for (size_t axis = 0; axis < output.rank; axis++)
            length *= output.shape[axis];
        CHECK(output.rank >= 3 && output.shape[0] == 1 && length == output.length && length > 0);
        for (size_t k = 0; k < length; k++)
            if (!isfinite(output.data[k])) {
                CHECK(isfinite(output.data[k]));
                break;
            }
    }
    /* The middle of the input is the middle of the picture. */
    float x = ylb_model_input_width(model) / 2.0f, y = ylb_model_input_height(model) / 2.0f;
    CHECK(ylb_session_to_picture(session, &x, &y) == YLB_OK);
    CHECK(fabsf(x - WIDTH / 2.0f) < 0.01f && fabsf(y - HEIGHT / 2.0f) < 0.01f);

    ylb_times times = {-1, -1, -1};
    CHECK(ylb_session_times(session, &times) == YLB_OK);
    CHECK(times.preprocess >= 0 && times.inference > 0 && times.postprocess >= 0);

    const ylb_layer *layers = NULL;
    size_t count = 77;
    CHECK(ylb_session_layers(session, &layers, &count) == YLB_OK && count == 0);
    ylb_session_options options = ylb_session_options_default();
    options.threads = 1;
    options.profile = 1;
    ylb_session *measuring = NULL;
    CHECK(ylb_session_new(model, &options, &measuring) == YLB_OK);
    CHECK(ylb_session_threads(measuring) == 1);
    CHECK(ylb_session_run(measuring, &picture) == YLB_OK);
    CHECK(ylb_session_layers(measuring, &layers, &count) == YLB_OK && count > 60);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        CHECK(layers[i].name && layers[i].kernel && layers[i].seconds >= 0);
        sum += layers[i].seconds;
    }
    CHECK(ylb_session_times(measuring, &times) == YLB_OK && sum > 0 && sum <= times.inference);

    /* The tensor of a grey picture gives what the grey picture gives. */
    size_t area = (size_t)ylb_model_input_width(model) * ylb_model_input_height(model);
    float *tensor = malloc(3 * area * sizeof *tensor);
    unsigned char *grey = malloc(area);
    for (size_t k = 0; k < area; k++) {
        grey[k] = (unsigned char)(k * 7 % 251);
        for (int c = 0; c < 3; c++)
            tensor[c * area + k] = grey[k] / 255.0f;
    }
    CHECK(ylb_session_run_tensor(session, tensor, 3 * area) == YLB_OK);
    CHECK(ylb_session_output(session, 0, &output) == YLB_OK);
    ylb_picture whole = {grey, ylb_model_input_width(model), ylb_model_input_height(model), 0, YLB_PIXELS_GRAY8};
    ylb_output again;
    CHECK(ylb_session_run(measuring, &whole) == YLB_OK);
    CHECK(ylb_session_output(measuring, 0, &again) == YLB_OK);
    CHECK(memcmp(output.data, again.data, again.length * sizeof *again.data) == 0);
    tensor[5] = 0.4999f;
    CHECK(ylb_session_run_tensor(session, tensor, 3 * area) == YLB_ERROR_ARGUMENT);
    free(tensor);
    free(grey);
    ylb_session_free(measuring);
}

struct job {
    const ylb_detection *found;
    size_t count;
    ylb_session *session;
    int right;
};

static void *work(void *argument)
{
    struct job *job = argument;
    ylb_detect_options options = low();
    ylb_session_options one = ylb_session_options_default();
    one.threads = 1;
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    /* A failure of one thread is not the last error of another. */
    job->right = strcmp(ylb_last_error(), "") == 0 && ylb_session_new(model, &one, &job->session) == YLB_OK;
    for (int round = 0; round < 3 && job->right; round++)
        job->right = ylb_session_detect(job->session, &picture, &options, &job->found, &job->count) == YLB_OK;
    return NULL;
}

static void threads(ylb_session *session)
{
    struct job jobs[THREADS] = {{0}};
    pthread_t ids[THREADS];
    CHECK(ylb_model_open(NULL, NULL) == YLB_ERROR_NULL);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&ids[i], NULL, work, &jobs[i]) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    ylb_detect_options options = low();
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    const ylb_detection *found;
    size_t count;
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_OK);
    for (int i = 0; i < THREADS; i++) {
        CHECK(jobs[i].right);
        CHECK(equal(jobs[i].found, jobs[i].count, found, count));
        ylb_session_free(jobs[i].session);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    draw();
    versions();
    ylb_session *session = NULL;
    ylb_session_options options = ylb_session_options_default();
    options.threads = 2;
    CHECK(ylb_model_open(argv[1], &model) == YLB_OK);
    CHECK(ylb_session_new(model, &options, &session) == YLB_OK);
    if (failures)
        return 1;
    models(argv[1]);
    bytes_of_a_file(argv[1]);
    bad_arguments(session);
    formats(session);
    outputs_and_layers(session);
    threads(session);
    ylb_session_free(session);
    ylb_model_free(model);
    return verdict();
}
