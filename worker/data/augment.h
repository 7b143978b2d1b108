/* Random crops and rotations of an image's pixels, as Relation Networks are trained on CLEVR
 * (Santoro et al. 2017: 128 pixels padded to 136, a random crop of 128, a rotation by up to 0.05
 * rad). The result has the image's own size; what lies outside of the image is `fill`. */
#ifndef WK_AUGMENT_H
#define WK_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

enum { WK_AUGMENT_CHANNELS = 3 };

typedef struct {
    int pad;       /* pixels: the crop moves by up to so many in each direction */
    double rotate; /* radians: the angle is between -rotate and rotate */
    double fill;   /* in the units of the pixels given */
    uint64_t seed;
} wk_augment_t;

/* pixels, out: [height][width][3]. Where pixels lie and by which angle is a function of
 * (seed, epoch, image) alone. First the crop, then the rotation about its centre, in one step, with
 * bilinear weights; with pad 0 and rotate 0 it is the image itself. */
void wk_augment(const wk_augment_t *augment, uint64_t epoch, uint32_t image, int height, int width,
                const float *pixels, float *out);

#endif
