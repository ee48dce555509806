/* Finds objects in a picture: detect MODEL.ylb PICTURE.ppm
 *
 * PPM is the picture format that needs no library; `djpeg picture.jpg > picture.ppm` makes one.
 *
 *     cc -o detect detect.c $(pkg-config --cflags --libs yolo-lowbit)
 */
#include <stdio.h>
#include <stdlib.h>
#include <yolo_lowbit.h>

/* Reads a binary PPM file of 8-bit colours. */
static unsigned char *read_ppm(const char *path, unsigned *width, unsigned *height)
{
    FILE *file = fopen(path, "rb");
    unsigned char *pixels = NULL;
    if (file && fscanf(file, "P6 %u %u 255", width, height) == 2 && fgetc(file) != EOF
        && *width > 0 && *width <= 1 << 14 && *height > 0 && *height <= 1 << 14) {
        size_t size = (size_t)*width * *height * 3;
        pixels = malloc(size);
        if (pixels && fread(pixels, 1, size, file) != size) {
            free(pixels);
            pixels = NULL;
        }
    }
    if (file)
        fclose(file);
    if (!pixels)
        fprintf(stderr, "%s: cannot be read as a binary PPM picture\n", path);
    return pixels;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s MODEL.ylb PICTURE.ppm\n", argv[0]);
        return 2;
    }
    unsigned width, height;
    unsigned char *pixels = read_ppm(argv[2], &width, &height);
    if (!pixels)
        return 2;

    /* The lines that matter. */
    ylb_model *model = NULL;
    ylb_session *session = NULL;
    const ylb_detection *found;
    size_t count = 0;
    ylb_picture picture = {pixels, width, height, 0, YLB_PIXELS_RGB};
    ylb_status status = ylb_model_open(argv[1], &model);
    if (status == YLB_OK)
        status = ylb_session_new(model, NULL, &session);
    if (status == YLB_OK)
        status = ylb_session_detect(session, &picture, NULL, &found, &count);
    if (status != YLB_OK)
        fprintf(stderr, "%s\n", ylb_last_error());
    for (size_t i = 0; i < count; i++) {
        const char *name = ylb_model_class_name(model, found[i].class_id);
        char number[32];
        snprintf(number, sizeof number, "class%u", (unsigned)found[i].class_id);
        printf("%s %.2f: %.1f %.1f %.1f %.1f\n", name ? name : number, found[i].confidence,
               found[i].left, found[i].top, found[i].right, found[i].bottom);
    }

    ylb_session_free(session);
    ylb_model_free(model);
    free(pixels);
    return status == YLB_OK ? 0 : 1;
}
