#include "worker/import/sort_of_clevr.h"

#include "common/random.h"

#include <stdio.h>
#include <string.h>

_Static_assert((WK_SOC_GRID - 1) * WK_SOC_STRIDE + WK_SOC_PATCH == WK_SOC_SIDE,
               "the patches cover the image exactly");

enum { STREAM_SCENE, STREAM_QUESTIONS, PARAPHRASES = 3 };
enum { ANSWER_YES, ANSWER_NO, ANSWER_RECTANGLE, ANSWER_CIRCLE, ANSWER_ZERO };

static const struct {
    const char *name;
    uint8_t rgb[3];
} colours[WK_SOC_OBJECTS] = {
    {"red", {255, 0, 0}},      {"green", {0, 255, 0}},    {"blue", {0, 0, 255}},
    {"orange", {255, 156, 0}}, {"grey", {128, 128, 128}}, {"yellow", {255, 255, 0}},
};

static const struct {
    const char *type;
    const char *text[PARAPHRASES]; /* %s: the colour */
} kinds[WK_SOC_KINDS] = {
    [WK_SOC_SHAPE] = {"non-relational: shape",
                      {"what is the shape of the %s object?", "what shape is the %s object?",
                       "which shape does the %s object have?"}},
    [WK_SOC_LEFT] = {"non-relational: left",
                     {"is the %s object on the left?", "is the %s object in the left half?",
                      "does the %s object lie on the left?"}},
    [WK_SOC_TOP] = {"non-relational: top",
                    {"is the %s object at the top?", "is the %s object in the upper half?",
                     "does the %s object lie at the top?"}},
    [WK_SOC_CLOSEST] = {"relational: closest shape",
                        {"what is the shape of the object closest to the %s object?",
                         "what shape is the object nearest to the %s object?",
                         "which shape has the closest neighbour of the %s object?"}},
    [WK_SOC_FURTHEST] = {"relational: furthest shape",
                         {"what is the shape of the object furthest from the %s object?",
                          "what shape is the object most distant from the %s object?",
                          "which shape lies furthest away from the %s object?"}},
    [WK_SOC_COUNT] = {"relational: count",
                      {"how many other objects have the shape of the %s object?",
                       "how many objects have the same shape as the %s object?",
                       "what number of other objects share the shape of the %s object?"}},
};

const char *wk_soc_colour(int colour) { return colours[colour].name; }

const char *wk_soc_answer(int answer) {
    static const char *const name[WK_SOC_ANSWERS] = {"yes", "no", "rectangle", "circle", "0",
                                                     "1",   "2",  "3",         "4",      "5"};
    return name[answer];
}

const char *wk_soc_question_type(wk_soc_kind_t kind) { return kinds[kind].type; }

const char *wk_soc_answer_type(wk_soc_kind_t kind) {
    return kind < WK_SOC_CLOSEST ? "non-relational" : "relational";
}

int wk_soc_paraphrases(void) { return PARAPHRASES; }

void wk_soc_sentence(wk_soc_kind_t kind, int paraphrase, int colour, char text[WK_SOC_TEXT]) {
    const char *template = kinds[kind].text[paraphrase], *hole = strstr(template, "%s");
    snprintf(text, WK_SOC_TEXT, "%.*s%s%s", (int)(hole - template), template, colours[colour].name,
             hole + 2);
}

static int squared_distance(const wk_soc_object_t *a, const wk_soc_object_t *b) {
    int dx = a->x - b->x, dy = a->y - b->y;
    return dx * dx + dy * dy;
}

void wk_soc_scene(uint64_t seed, uint64_t image, wk_soc_scene_t *scene) {
    hp_random_t r = hp_random(seed, HP_RANDOM_SYNTH, image, STREAM_SCENE);
    int nearest = 4 * WK_SOC_RADIUS * WK_SOC_RADIUS;
    for (int i = 0; i < WK_SOC_OBJECTS; i++) {
        wk_soc_object_t *o = &scene->object[i];
        int j;
        do {
            o->x = WK_SOC_RADIUS + (int)hp_random_below(&r, WK_SOC_SIDE - 2 * WK_SOC_RADIUS);
            o->y = WK_SOC_RADIUS + (int)hp_random_below(&r, WK_SOC_SIDE - 2 * WK_SOC_RADIUS);
            for (j = 0; j < i; j++)
                if (squared_distance(o, &scene->object[j]) < nearest) break;
        } while (j < i);
        o->circle = hp_random_below(&r, 2) == 1;
    }
}

static int shape_of(const wk_soc_object_t *o) {
    return o->circle ? ANSWER_CIRCLE : ANSWER_RECTANGLE;
}

/* The shape of the object at the least (sign 1) or greatest (sign -1) distance. */
static int shape_at_extreme(const wk_soc_scene_t *scene, int colour, int sign) {
    const wk_soc_object_t *self = &scene->object[colour];
    int best = 0, shape = -1;
    bool found = false;
    for (int i = 0; i < WK_SOC_OBJECTS; i++) {
        if (i == colour) continue;
        const wk_soc_object_t *other = &scene->object[i];
        int d = sign * squared_distance(self, other);
        if (!found || d < best) {
            found = true;
            best = d;
            shape = shape_of(other);
        } else if (d == best && shape != shape_of(other)) {
            shape = -1;
        }
    }
    return shape;
}

int wk_soc_solve(const wk_soc_scene_t *scene, wk_soc_kind_t kind, int colour) {
    const wk_soc_object_t *self = &scene->object[colour];
    switch (kind) {
    case WK_SOC_SHAPE:
        return shape_of(self);
    case WK_SOC_LEFT:
        return 2 * self->x < WK_SOC_SIDE ? ANSWER_YES : ANSWER_NO;
    case WK_SOC_TOP:
        return 2 * self->y < WK_SOC_SIDE ? ANSWER_YES : ANSWER_NO;
    case WK_SOC_CLOSEST:
        return shape_at_extreme(scene, colour, 1);
    case WK_SOC_FURTHEST:
        return shape_at_extreme(scene, colour, -1);
    default:
        break;
    }
    int same = -1; /* the object itself does not count */
    for (int i = 0; i < WK_SOC_OBJECTS; i++) same += scene->object[i].circle == self->circle;
    return ANSWER_ZERO + same;
}

void wk_soc_questions(uint64_t seed, uint64_t image, const wk_soc_scene_t *scene,
                      wk_soc_question_t question[WK_SOC_QUESTIONS]) {
    hp_random_t r = hp_random(seed, HP_RANDOM_SYNTH, image, STREAM_QUESTIONS);
    for (int i = 0; i < WK_SOC_QUESTIONS; i++) {
        wk_soc_question_t *q = &question[i];
        int relation = i >= WK_SOC_QUESTIONS / 2;
        do {
            q->colour = (int)hp_random_below(&r, WK_SOC_OBJECTS);
            q->kind = (wk_soc_kind_t)(3 * relation + (int)hp_random_below(&r, 3));
            q->answer = wk_soc_solve(scene, q->kind, q->colour);
        } while (q->answer < 0);
        q->code = 1u << q->colour | 1u << (6 + relation) | 1u << (8 + q->kind % 3);
        int paraphrase = (int)hp_random_below(&r, PARAPHRASES);
        wk_soc_sentence(q->kind, paraphrase, q->colour, q->text);
    }
}

void wk_soc_boxes(const wk_soc_scene_t *scene, float box[WK_SOC_OBJECTS][4]) {
    for (int i = 0; i < WK_SOC_OBJECTS; i++) {
        const wk_soc_object_t *o = &scene->object[i];
        box[i][0] = (float)(o->x - WK_SOC_RADIUS);
        box[i][1] = (float)(o->y - WK_SOC_RADIUS);
        box[i][2] = (float)(o->x + WK_SOC_RADIUS + 1);
        box[i][3] = (float)(o->y + WK_SOC_RADIUS + 1);
    }
}

void wk_soc_draw(const wk_soc_scene_t *scene, uint8_t *pixels) {
    /* Half widths of the rows of OpenCV's filled circle of radius 5, by distance from the centre.
     */
    static const int half[WK_SOC_RADIUS + 1] = {5, 4, 4, 4, 3, 0};
    memset(pixels, 255, (size_t)WK_SOC_SIDE * WK_SOC_SIDE * 3);
    for (int i = 0; i < WK_SOC_OBJECTS; i++) {
        const wk_soc_object_t *o = &scene->object[i];
        for (int dy = -WK_SOC_RADIUS; dy <= WK_SOC_RADIUS; dy++) {
            int w = o->circle ? half[dy < 0 ? -dy : dy] : WK_SOC_RADIUS;
            uint8_t *p = pixels + 3 * ((o->y + dy) * WK_SOC_SIDE + o->x - w);
            for (int dx = -w; dx <= w; dx++, p += 3) memcpy(p, colours[i].rgb, 3);
        }
    }
}

void wk_soc_patches(const uint8_t *pixels, uint8_t *patch) {
    for (int cell = 0; cell < WK_SOC_GRID * WK_SOC_GRID; cell++) {
        int top = cell / WK_SOC_GRID * WK_SOC_STRIDE, left = cell % WK_SOC_GRID * WK_SOC_STRIDE;
        for (int y = 0; y < WK_SOC_PATCH; y++) {
            const uint8_t *row = pixels + 3 * ((top + y) * WK_SOC_SIDE + left);
            for (int i = 0; i < 3 * WK_SOC_PATCH; i++) *patch++ = (uint8_t)(255 - row[i]);
        }
    }
}
