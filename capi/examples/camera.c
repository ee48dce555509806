/* Finds objects in what a camera sees: camera MODEL.ylb [/dev/video0 [FRAMES]]
 *
 * Grabs YUYV frames of 640 x 480 with Video4Linux2 and hands the driver's own memory to the
 * detector: no copy, no conversion of pixels that the network does not look at. Ctrl-C ends it.
 *
 *     cc -o camera camera.c $(pkg-config --cflags --libs yolo-lowbit)
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <yolo_lowbit.h>

enum { BUFFERS = 4 };

struct camera {
    int device;
    unsigned width, height, stride;
    unsigned char *buffers[BUFFERS];
    size_t lengths[BUFFERS];
};

static volatile sig_atomic_t stopped;

static void stop(int signal)
{
    (void)signal;
    stopped = 1;
}

static int control(int device, unsigned long request, void *argument)
{
    int result;
    do
        result = ioctl(device, request, argument);
    while (result < 0 && errno == EINTR && !stopped);
    return result;
}

/* Starts the camera; says on standard error what it cannot do. */
static int camera_start(struct camera *camera, const char *path)
{
    struct v4l2_format format = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE};
    struct v4l2_requestbuffers request = {
        .count = BUFFERS, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    camera->device = open(path, O_RDWR);
    if (camera->device < 0) {
        perror(path);
        return -1;
    }
    format.fmt.pix.width = 640;
    format.fmt.pix.height = 480;
    format.fmt.pix.pixelformat = V4L2_PIX_FMT_YUYV;
    format.fmt.pix.field = V4L2_FIELD_NONE;
    if (control(camera->device, VIDIOC_S_FMT, &format) < 0
        || format.fmt.pix.pixelformat != V4L2_PIX_FMT_YUYV) {
        fprintf(stderr, "%s: delivers no YUYV frames\n", path);
        return -1;
    }
    camera->width = format.fmt.pix.width;
    camera->height = format.fmt.pix.height;
    camera->stride = format.fmt.pix.bytesperline;
    if (control(camera->device, VIDIOC_REQBUFS, &request) < 0 || request.count < BUFFERS) {
        fprintf(stderr, "%s: has no memory for %d frames\n", path, BUFFERS);
        return -1;
    }
    for (unsigned i = 0; i < BUFFERS; i++) {
        struct v4l2_buffer buffer = {
            .index = i, .type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
        if (control(camera->device, VIDIOC_QUERYBUF, &buffer) < 0)
            return perror(path), -1;
        camera->lengths[i] = buffer.length;
        camera->buffers[i] = mmap(NULL, buffer.length, PROT_READ | PROT_WRITE, MAP_SHARED,
                                  camera->device, buffer.m.offset);
        if (camera->buffers[i] == MAP_FAILED || control(camera->device, VIDIOC_QBUF, &buffer) < 0)
            return perror(path), -1;
    }
    int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
    if (control(camera->device, VIDIOC_STREAMON, &type) < 0)
        return perror(path), -1;
    return 0;
}

/* Waits for a frame, finds objects in it and gives its memory back to the driver. */
static int camera_frame(struct camera *camera, ylb_session *session, const ylb_model *model)
{
    struct v4l2_buffer buffer = {.type = V4L2_BUF_TYPE_VIDEO_CAPTURE, .memory = V4L2_MEMORY_MMAP};
    if (control(camera->device, VIDIOC_DQBUF, &buffer) < 0)
        return stopped ? 0 : (perror("camera"), -1);

    const ylb_detection *found;
    size_t count = 0;
    ylb_times times;
    ylb_picture picture = {camera->buffers[buffer.index], camera->width, camera->height,
                           camera->stride, YLB_PIXELS_YUYV};
    /* A frame that was cut off on its way is left out. */
    if (buffer.bytesused >= (size_t)camera->stride * camera->height) {
        if (ylb_session_detect(session, &picture, NULL, &found, &count) != YLB_OK) {
            fprintf(stderr, "%s\n", ylb_last_error());
            return -1;
        }
        ylb_session_times(session, &times);
        printf("%.1f ms", 1e3 * (times.preprocess + times.inference + times.postprocess));
        for (size_t i = 0; i < count; i++) {
            const char *name = ylb_model_class_name(model, found[i].class_id);
            char number[32];
            snprintf(number, sizeof number, "class%u", (unsigned)found[i].class_id);
            printf("  %s %.2f (%.0f %.0f %.0f %.0f)", name ? name : number, found[i].confidence,
                   found[i].left, found[i].top, found[i].right, found[i].bottom);
        }
        printf("\n");
        fflush(stdout);
    }
    if (control(camera->device, VIDIOC_QBUF, &buffer) < 0)
        return perror("camera"), -1;
    return 0;
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 4) {
        fprintf(stderr, "usage: %s MODEL.ylb [/dev/video0 [FRAMES]]\n", argv[0]);
        return 2;
    }
    long frames = argc > 3 ? strtol(argv[3], NULL, 10) : -1;
    struct camera camera;
    ylb_model *model = NULL;
    ylb_session *session = NULL;
    if (ylb_model_open(argv[1], &model) != YLB_OK
        || ylb_session_new(model, NULL, &session) != YLB_OK) {
        fprintf(stderr, "%s\n", ylb_last_error());
        ylb_model_free(model);
        return 1;
    }
    signal(SIGINT, stop);
    int result = camera_start(&camera, argc > 2 ? argv[2] : "/dev/video0");
    while (result == 0 && !stopped && frames-- != 0)
        result = camera_frame(&camera, session, model);
    ylb_session_free(session);
    ylb_model_free(model);
    return result == 0 ? 0 : 1;
}
