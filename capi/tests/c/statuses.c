/* Failures that need preparation, one of each kind:
 * statuses MODEL.ylb MODEL_WITHOUT_ANCHORS.ylb MODEL_WITHOUT_HEAD.ylb */
#include <stdlib.h>
#include <sys/resource.h>

#include "check.h"

static ylb_model *open_model(const char *path)
{
    ylb_model *model = NULL;
    CHECK(ylb_model_open(path, &model) == YLB_OK);
    return model;
}

/* Programs are compiled with these numbers: they stay. */
static void numbers(void)
{
    CHECK(YLB_OK == 0 && YLB_ERROR_NULL == 1 && YLB_ERROR_ARGUMENT == 2 && YLB_ERROR_IO == 3);
    CHECK(YLB_ERROR_MODEL == 4 && YLB_ERROR_UNSUPPORTED == 5 && YLB_ERROR_RESOURCES == 6);
    CHECK(YLB_ERROR_NO_BOXES == 7 && YLB_ERROR_INTERNAL == 8 && YLB_ERROR_NO_FRAME == 9);
    CHECK(YLB_ERROR_FORKED == 10);
}

static void unsupported(const char *path)
{
    ylb_model *model = NULL;
    setenv("YLB_KERNELS", "no-such-kernel", 1);
    CHECK(ylb_model_open(path, &model) == YLB_ERROR_UNSUPPORTED && model == NULL);
    CHECK(strstr(ylb_last_error(), "no-such-kernel") != NULL);
    unsetenv("YLB_KERNELS");
}

/* No boxes; whether there are outputs is another matter. */
static void no_boxes(const char *path, ylb_status outputs)
{
    ylb_model *model = open_model(path);
    ylb_session *session = new_session(model, 2, 0);
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    const ylb_detection *found = NULL;
    ylb_output output;
    uint32_t class_id = 1;
    ylb_detect_options options = ylb_detect_options_default();
    options.classes = &class_id;
    options.class_count = 1;
    size_t count = 77;
    CHECK(ylb_session_detect(session, &picture, NULL, &found, &count) == YLB_ERROR_NO_BOXES);
    CHECK(ylb_session_detect(session, &picture, &options, &found, &count) == YLB_ERROR_NO_BOXES);
    CHECK(found == NULL && count == 77 && strlen(ylb_last_error()) > 0);
    if (ylb_model_output_count(model) > 0) {
        CHECK(ylb_session_output(session, 0, &output) == YLB_ERROR_NO_FRAME);
        CHECK(ylb_session_run(session, &picture) == YLB_OK);
        CHECK(ylb_session_output(session, 0, &output) == outputs);
        /* A call that cannot find boxes leaves what the last frame gave. */
        CHECK(ylb_session_detect(session, &picture, NULL, &found, &count) == YLB_ERROR_NO_BOXES);
        CHECK(ylb_session_output(session, 0, &output) == outputs);
    }
    ylb_session_free(session);
    ylb_model_free(model);
}

/* Bytes of address space that the process has. */
static size_t address_space(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK(file && fscanf(file, "%lu", &pages) == 1);
    if (file)
        fclose(file);
    return (size_t)pages * 4096;
}

static void resources(const char *path)
{
    ylb_model *model = open_model(path);
    ylb_session *session = NULL;
    ylb_session_options options = ylb_session_options_default();
    struct rlimit limit, before;
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    /* Room for the stacks of some threads, but not of so many. */
    options.threads = 128;
    limit = before;
    limit.rlim_cur = address_space() + (96 << 20);
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    CHECK(ylb_session_new(model, &options, &session) == YLB_ERROR_RESOURCES && session == NULL);
    CHECK(strstr(ylb_last_error(), "threads") != NULL);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    /* And with room again it works. */
    options.threads = 3;
    CHECK(ylb_session_new(model, &options, &session) == YLB_OK);
    ylb_session_free(session);
    ylb_model_free(model);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    draw();
    numbers();
    unsupported(argv[1]);
    no_boxes(argv[2], YLB_OK);
    no_boxes(argv[3], YLB_ERROR_NO_BOXES);
    resources(argv[1]);
    return verdict();
}
