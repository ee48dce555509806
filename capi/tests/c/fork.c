/* What a forked child can do with its parent's sessions, and that it never waits for ever.
 * fork MODEL.ylb */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

static ylb_model *model;

static void detect(ylb_session *session, const ylb_detection **found, size_t *count)
{
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    ylb_detect_options options = low();
    CHECK(ylb_session_detect(session, &picture, &options, found, count) == YLB_OK && *count > 0);
}

static void child(ylb_session *many, ylb_session *one, const ylb_detection *expected, size_t expected_count)
{
    const ylb_detection *found = NULL;
    size_t count = 77;
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    ylb_output output;
    ylb_times times;
    float x = 1, y = 1;
    size_t length = (size_t)3 * ylb_model_input_width(model) * ylb_model_input_height(model);
    float *tensor = calloc(length, sizeof *tensor);

    CHECK(ylb_session_detect(many, &picture, NULL, &found, &count) == YLB_ERROR_FORKED);
    CHECK(strstr(ylb_last_error(), "after fork()") != NULL);
    CHECK(found == NULL && count == 77);
    CHECK(ylb_session_run(many, &picture) == YLB_ERROR_FORKED);
    CHECK(ylb_session_run_tensor(many, tensor, length) == YLB_ERROR_FORKED);
    free(tensor);
    /* The parent's last frame can be read. */
    CHECK(ylb_session_output(many, 0, &output) == YLB_OK && output.length > 0);
    CHECK(ylb_session_times(many, &times) == YLB_OK && times.inference > 0);
    CHECK(ylb_session_to_picture(many, &x, &y) == YLB_OK);
    ylb_session_free(many);

    /* A session of one thread is as good as before, and new ones are as good as any. */
    detect(one, &found, &count);
    CHECK(equal(found, count, expected, expected_count));
    ylb_session_free(one);
    for (unsigned threads = 1; threads <= 3; threads++) {
        ylb_session *own = new_session(model, threads, 0);
        detect(own, &found, &count);
        CHECK(equal(found, count, expected, expected_count));
        ylb_session_free(own);
    }
}

int main(int argc, char **argv)
{
    CHECK(argc == 2 && ylb_model_open(argv[1], &model) == YLB_OK);
    if (failures)
        return 2;
    draw();
    const ylb_detection *expected, *found;
    size_t expected_count, count;
    ylb_session *one = new_session(model, 1, 0);
    detect(one, &expected, &expected_count);
    for (unsigned threads = 2; threads <= 4; threads++) {
        ylb_session *many = new_session(model, threads, 0);
        detect(many, &found, &count);
        fflush(stdout);
        pid_t id = fork();
        if (id == 0) {
            /* Whoever waits for threads that are not there is killed. */
            alarm(60);
            ylb_detection *kept = malloc(expected_count * sizeof *kept);
            memcpy(kept, expected, expected_count * sizeof *kept);
            child(many, one, kept, expected_count);
            free(kept);
            ylb_model_free(model);
            fflush(stdout);
            _exit(failures != 0);
        }
        int status = -1;
        CHECK(id > 0 && waitpid(id, &status, 0) == id);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        /* The parent goes on as if nothing had been. */
        detect(many, &found, &count);
        CHECK(equal(found, count, expected, expected_count));
        ylb_session_free(many);
    }
    ylb_session_free(one);
    ylb_model_free(model);
    return verdict();
}
