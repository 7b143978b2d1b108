/* Sort-of-CLEVR (Santoro et al. 2017, "A simple neural network module for relational reasoning"),
 * with the sizes, colours, shapes and questions of the widely used public generator. Pure
 * functions: an image and its questions depend on (seed, image number) alone.
 *
 * Two things differ from that generator. The closest object is never the object itself (there, an
 * object farther than 31 pixels from all others was its own neighbour: 7 % of the questions for the
 * closest). And a question for the closest or furthest object is not asked where objects at the
 * same distance have different shapes; another one is drawn in its place. */
#ifndef WK_SORT_OF_CLEVR_H
#define WK_SORT_OF_CLEVR_H

#include <stdbool.h>
#include <stdint.h>

enum {
    WK_SOC_SIDE = 75,      /* pixels; white background */
    WK_SOC_OBJECTS = 6,    /* one of each colour; object i has colour i */
    WK_SOC_RADIUS = 5,     /* of a circle; a square has 11 x 11 pixels */
    WK_SOC_QUESTIONS = 20, /* of an image: 10 non-relational, then 10 relational */
    WK_SOC_CODE_BITS = 11,
    WK_SOC_ANSWERS = 10,
    WK_SOC_GRID = 10, /* patches a side */
    WK_SOC_PATCH = 12,
    WK_SOC_STRIDE = 7,
    WK_SOC_CHANNELS = WK_SOC_PATCH * WK_SOC_PATCH * 3,
    WK_SOC_TEXT = 80 /* bytes of a question's sentence */
};

typedef enum { /* in the order of the code's bits: relation * 3 + subtype */
               WK_SOC_SHAPE,
               WK_SOC_LEFT,
               WK_SOC_TOP,
               WK_SOC_CLOSEST,
               WK_SOC_FURTHEST,
               WK_SOC_COUNT,
               WK_SOC_KINDS
} wk_soc_kind_t;

typedef struct {
    int x, y; /* centre, 5 .. 69, y down */
    bool circle;
} wk_soc_object_t;

typedef struct {
    wk_soc_object_t object[WK_SOC_OBJECTS];
} wk_soc_scene_t;

typedef struct {
    wk_soc_kind_t kind;
    int colour;
    uint32_t code; /* bit 0..5: colour; 6 non-relational, 7 relational; 8..10: subtype */
    int answer;    /* index for wk_soc_answer */
    char text[WK_SOC_TEXT];
} wk_soc_question_t;

const char *wk_soc_colour(int colour); /* "red" .. */
const char *wk_soc_answer(int answer); /* "yes" "no" "rectangle" "circle" "0" .. "5" */
const char *wk_soc_question_type(wk_soc_kind_t kind); /* "relational: closest shape" .. */
const char *wk_soc_answer_type(wk_soc_kind_t kind);   /* "relational" or "non-relational" */

/* The sentence of a question, and how many ways of asking there are. */
int wk_soc_paraphrases(void);
void wk_soc_sentence(wk_soc_kind_t kind, int paraphrase, int colour, char text[WK_SOC_TEXT]);

void wk_soc_scene(uint64_t seed, uint64_t image, wk_soc_scene_t *scene);

/* The answer's index, or -1 where objects tie and differ. */
int wk_soc_solve(const wk_soc_scene_t *scene, wk_soc_kind_t kind, int colour);

void wk_soc_questions(uint64_t seed, uint64_t image, const wk_soc_scene_t *scene,
                      wk_soc_question_t question[WK_SOC_QUESTIONS]);

/* x1, y1, x2, y2 of the pixels of each object, x2 and y2 just outside. */
void wk_soc_boxes(const wk_soc_scene_t *scene, float box[WK_SOC_OBJECTS][4]);

/* pixels: [75][75][3] RGB. */
void wk_soc_draw(const wk_soc_scene_t *scene, uint8_t *pixels);

/* 12x12 patches, 7 apart, of the inverted image: patch [10*10][12*12*3]. Inverted, because a white
 * background has the largest norm and would draw the selection. */
void wk_soc_patches(const uint8_t *pixels, uint8_t *patch);

#endif
