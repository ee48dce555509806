/* Calls from destructors of a thread's data, when the library's own data of that thread are gone.
 * thread_end MODEL.ylb [LIBRARY]: with a library, which is loaded by dlopen(), instead of the linked one. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>

#include "check.h"

/* The library's functions, wherever they come from. */
static struct {
    __typeof__(ylb_last_error) *last_error;
    __typeof__(ylb_model_open) *model_open;
    __typeof__(ylb_session_new) *session_new;
    __typeof__(ylb_session_detect) *session_detect;
    __typeof__(ylb_session_free) *session_free;
} library = {ylb_last_error, ylb_model_open, ylb_session_new, ylb_session_detect, ylb_session_free};

/* For CHECK, too. */
#define ylb_last_error library.last_error

static int load(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        printf("%s\n", dlerror());
        return 0;
    }
    *(void **)&library.last_error = dlsym(handle, "ylb_last_error");
    *(void **)&library.model_open = dlsym(handle, "ylb_model_open");
    *(void **)&library.session_new = dlsym(handle, "ylb_session_new");
    *(void **)&library.session_detect = dlsym(handle, "ylb_session_detect");
    *(void **)&library.session_free = dlsym(handle, "ylb_session_free");
    return 1;
}

static pthread_key_t key;
static ylb_model *model;
static int ended;

static void failing_calls(void)
{
    char path[1000];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = 0;
    ylb_model *none = NULL;
    CHECK(library.session_new(NULL, NULL, NULL) == YLB_ERROR_NULL);
    CHECK(strcmp(ylb_last_error(), "model is NULL") == 0);
    /* A text that is longer than what is kept at the end; and the next, which is shorter. */
    CHECK(library.model_open(path, &none) == YLB_ERROR_IO && none == NULL);
    CHECK(strlen(ylb_last_error()) >= 255 && strncmp(ylb_last_error(), path, 255) == 0);
    CHECK(library.session_new(model, NULL, NULL) == YLB_ERROR_NULL);
    CHECK(strcmp(ylb_last_error(), "session is NULL") == 0);
}

static void whole_frame(void)
{
    ylb_session *session = NULL;
    ylb_session_options two = {2, 0};
    ylb_picture picture = picture_of(rgb, YLB_PIXELS_RGB);
    ylb_detect_options options = {0.01f, 0.45f, 300, 0, NULL, 0};
    const ylb_detection *found;
    size_t count = 0;
    CHECK(library.session_new(model, &two, &session) == YLB_OK);
    CHECK(library.session_detect(session, &picture, &options, &found, &count) == YLB_OK && count > 0);
    library.session_free(session);
}

static void at_the_end(void *argument)
{
    (void)argument;
    failing_calls();
    whole_frame();
    ended++;
}

static void *begin(void *called_before)
{
    CHECK(pthread_setspecific(key, "set") == 0);
    if (called_before)
        failing_calls();
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc < 2 || (argc > 2 && !load(argv[2])))
        return 2;
    draw();
    CHECK(library.model_open(argv[1], &model) == YLB_OK);
    CHECK(pthread_key_create(&key, at_the_end) == 0);
    /* A thread that called the library before its end, and one that did not. */
    for (int round = 0; round < 4; round++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, begin, round % 2 ? &key : NULL) == 0);
        pthread_join(thread, NULL);
    }
    CHECK(ended == 4);
    return verdict();
}
