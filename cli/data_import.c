/* hanps data import: data sets that others have made. */
#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/import_line.h"
#include "cli/import_options.h"
#include "worker/import/clevr.h"
#include "worker/import/vqa.h"

#include <ctype.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] =
    "usage: hanps data import nlvr|clevr FOLDER --out STORE [OPTION]...    (--help after nlvr)\n"
    "       hanps data import vqa --questions FILE[,FILE]... [--annotations FILE[,FILE]...]\n"
    "           [--split NAME --questions ... [--annotations ...]]... [OPTION]... --out STORE\n"
    "       hanps data import jsonl FILE... [OPTION]... --out STORE\n"
    "       hanps data import clevr FOLDER --features PATH... [OPTION]... --out STORE\n\n"
    "Imports VQA v1, v2, VQA-CP, or anything in their JSON format (objects or bare lists), with\n"
    "features from many kinds of files. What is interrupted goes on where it was when the same\n"
    "command is given again; with other options or changed files it is refused.\n\n"
    "  --out STORE            where the store is written; must not exist\n\n"
    "questions; those before the first --split are the split `train`:\n"
    "  --split NAME           the --questions and --annotations that follow belong to NAME\n"
    "  --questions FILE,...   may be given several times\n"
    "  --annotations FILE,... none: the split has no answers\n"
    "jsonl: every line says which split its question belongs to (train):\n"
    "  {\"image\": \"17\", \"question\": \"Is it red?\", \"answer\": \"yes\", \"split\": "
    "\"train\"}\n"
    "                         or \"answers\": [\"yes\", \"no\"] of several people; also "
    "question_id,\n"
    "                         question_type, answer_type\n\n"
    "clevr: FOLDER/questions; the first --features has the images of train, the second those of "
    "val,\n"
    "the third those of test; an id that is a number N, or a row, is the image "
    "CLEVR_train_00000N.png.\n\n"
    "  --vocabulary NAME      the split that words and answers are counted in; all: all of them "
    "(train)\n"
    "  --answer-vocabulary N  another one for the answers\n"
    "  --answers N            the N most frequent answers are learned; equal counts go by the\n"
    "                         bytes of the answer (1000)\n"
    "  --min-answer N         those with N occurrences at least (1); without --answers all of "
    "them\n"
    "  --min-word N           a word with fewer occurrences is unknown (1)\n"
    "  --tokenizer NAME       words, ban, mcan, mcb, kazemi, kaihua, iep, punctuation, split,\n"
    "                         nltk (word_tokenize of NLTK 3.10, of the text in lower case, which\n"
    "                         is taken as one sentence: only a dot at the very end is a word),\n"
    "                         nltk3.9 (that of 3.7 to 3.9: 'stop' is parted as 'stop and '), or\n"
    "                         spaces: of text that has one between words (words)\n"
    "  --metric NAME          how answers are scored: vqa or exact (vqa; jsonl: exact where no "
    "question\n"
    "                         has two answers)\n\n"
    "features:\n"
    "  --features PATH        an HDF5 or safetensors file, a TSV file of bottom-up-attention, a "
    "folder\n"
    "                         with a .npy, .npz or raw file for each image, or a store; several "
    "times:\n"
    "                         all of their images; none: the store has questions only\n"
    "  --features-dataset N   the array in the HDF5, safetensors or .npz file (features; of .npz\n"
    "                         also the only one)\n"
    "  --ids-dataset N        the images' ids in it; '' where the id is the row, from 0 (ids)\n"
    "  --ids FILE             the images' ids in a text file instead, one a line in the rows' "
    "order;\n"
    "                         one for each --features\n"
    "  --names PATTERN        file names in a folder, or names in a store or in --ids that are "
    "more\n"
    "                         than the id: %d, %012d or %s stands for it (%d.npy)\n"
    "  --layout L             order of the axes: nhwc, nchw, ncellsc, nccells (nhwc); a file for\n"
    "                         one image leaves out N, and its cells may be fewer than others' in\n"
    "                         ncellsc and nccells. ragged: the cells of all images in one axis\n"
    "  --shape S              the files of the folder hold raw numbers of this shape, as\n"
    "                         36x2048, * for an axis that the file's length tells; of a sparse\n"
    "                         matrix in HDF5 (the group --features-dataset with data, indices and\n"
    "                         indptr) an image's shape\n"
    "  --raw-dtype T          of these numbers: f32, f16 or bf16, little-endian (f32)\n"
    "  --ranges-dataset N     where each image's cells of a ragged array begin and end "
    "(pos_boxes)\n"
    "  --boxes-dataset N      x1, y1, x2, y2 of each cell, axes as the features' (none)\n"
    "  --image-sizes W,H      the arrays of the images' widths and heights, by which boxes are\n"
    "                         divided, as data.coords needs them (boxes stay as they are)\n"
    "  --grid HxW             how the cells of ncellsc and nccells lie (on no grid)\n"
    "  --dtype T              numbers in the store: f16, bf16 or f32 (f16)\n"
    "  --encoding E           of the features in the store: raw; sparse: without their zeros; "
    "auto:\n"
    "                         sparse, images that it would not make shorter raw (raw)\n"
    "  --missing-images skip  leave out questions whose image has no features (refuse)\n\n"
    "pixels, for a model that begins with them (model.image.trunk: cnn):\n"
    "  --pixels FOLDER        PNG or JPEG files\n"
    "  --pixel-names P        their names, as --picture-names (%d.jpg)\n"
    "  --size HxW             every one is resized to this (128x128)\n\n"
    "pictures, for people to look at:\n"
    "  --pictures FOLDER      PNG or JPEG files\n"
    "  --picture-names P      %d, %012d or %s for the id, * before it (%d.jpg)\n";

enum { MAX_SPLITS = 16, MAX_FEATURES = 16, TEXT = 8192 };

typedef struct {
    wk_vqa_import_t import;
    wk_vqa_split_t split[MAX_SPLITS];
    /* features[0] has the options, which are the same of all. */
    wk_features_options_t features[MAX_FEATURES];
    const char *path[MAX_FEATURES], *ids_file[MAX_FEATURES];
    int paths, ids_files;
    char numbered[WK_CLEVR_SPLITS][32];
    bool has_metric;
    char *list[2 * MAX_SPLITS * WK_VQA_FILES]; /* copies that were cut at commas */
    int lists;
    char command[TEXT], sizes[256];
} arguments_t;

static hp_status_t count(const char *option, const char *text, uint64_t *out, hp_error_t *err) {
    int64_t value = 0;
    HP_TRY(cli_whole(option, text, 1, INT32_MAX - 1, &value, err));
    *out = (uint64_t)value;
    return HP_OK;
}

static hp_status_t add_file(const char *option, const char *name, const char **file, int *files,
                            hp_error_t *err) {
    if (*files == WK_VQA_FILES)
        return hp_fail(err, HP_INPUT, "%s: at most %d files", option, WK_VQA_FILES);
    if (name[0] == '\0') return hp_fail(err, HP_INPUT, "%s: an empty name", option);
    file[(*files)++] = name;
    return HP_OK;
}

/* Cut at commas, unless a file has exactly this name. */
static hp_status_t add_files(arguments_t *a, const char *option, char *text, const char **file,
                             int *files, hp_error_t *err) {
    if (access(text, F_OK) == 0 || strchr(text, ',') == NULL)
        return add_file(option, text, file, files, err);
    if (a->lists == (int)(sizeof a->list / sizeof *a->list))
        return hp_fail(err, HP_INPUT, "too many files");
    char *copy = strdup(text), *rest = copy, *name;
    if (copy == NULL) return hp_fail(err, HP_MEMORY, "out of memory");
    a->list[a->lists++] = copy;
    while ((name = strsep(&rest, ",")) != NULL) HP_TRY(add_file(option, name, file, files, err));
    return HP_OK;
}

static hp_status_t add_split(arguments_t *a, const char *name, hp_error_t *err) {
    for (int s = 0; s < a->import.splits; s++)
        if (strcmp(a->split[s].name, name) == 0)
            return hp_fail(err, HP_INPUT, "--split %s is there twice", name);
    if (a->import.splits == MAX_SPLITS)
        return hp_fail(err, HP_INPUT, "at most %d splits", MAX_SPLITS);
    a->split[a->import.splits++] = (wk_vqa_split_t){.name = name};
    return HP_OK;
}

static hp_status_t set_grid(arguments_t *a, const char *text, hp_error_t *err) {
    char after;
    if (sscanf(text, "%5dx%5d%c", &a->features[0].grid_height, &a->features[0].grid_width,
               &after) != 2 ||
        a->features[0].grid_height < 1 || a->features[0].grid_width < 1)
        return hp_fail(err, HP_INPUT, "--grid %s: HEIGHTxWIDTH is allowed, as in 10x10", text);
    return HP_OK;
}

/* "36x2048", "*x2048": at most one axis is open. */
static hp_status_t set_shape(arguments_t *a, const char *text, hp_error_t *err) {
    const char *at = text;
    int open = 0, dims = 0;
    bool good = true;
    while (good && dims < 3) {
        char *end = NULL;
        unsigned long long size = *at == '*' ? 0 : strtoull(at, &end, 10);
        good = *at == '*' || (isdigit((unsigned char)*at) && size > 0 && size <= 1 << 24);
        open += *at == '*';
        a->features[0].raw_size[dims++] = size;
        at = *at == '*' ? at + 1 : end;
        if (!good || *at != 'x') break;
        at++;
    }
    if (!good || *at != '\0' || dims < 2 || open > 1)
        return hp_fail(err, HP_INPUT,
                       "--shape %s: two or three numbers are allowed, as in 36x2048, one of them *",
                       text);
    a->features[0].raw_dims = dims;
    return HP_OK;
}

/* Two names and a comma between. */
static hp_status_t set_sizes(arguments_t *a, const char *text, hp_error_t *err) {
    char *comma;
    if (snprintf(a->sizes, sizeof a->sizes, "%s", text) >= (int)sizeof a->sizes ||
        (comma = strchr(a->sizes, ',')) == NULL || comma == a->sizes || comma[1] == '\0' ||
        strchr(comma + 1, ',') != NULL)
        return hp_fail(err, HP_INPUT,
                       "--image-sizes %s: two names are allowed, as in "
                       "image_w,image_h",
                       text);
    *comma = '\0';
    a->features[0].width_dataset = a->sizes;
    a->features[0].height_dataset = comma + 1;
    return HP_OK;
}

static hp_status_t set_metric(arguments_t *a, const char *text, hp_error_t *err) {
    if (strcmp(text, "vqa") != 0 && strcmp(text, "exact") != 0)
        return hp_fail(err, HP_INPUT, "--metric %s: allowed are vqa, exact", text);
    a->has_metric = true;
    a->import.metric = text[0] == 'v' ? HP_METRIC_VQA : HP_METRIC_EXACT;
    return HP_OK;
}

enum {
    OUT = 1,
    SPLIT,
    QUESTIONS,
    ANNOTATIONS,
    VOCABULARY,
    ANSWER_VOCABULARY,
    ANSWERS,
    MIN_ANSWER,
    MIN_WORD,
    TOKENIZER,
    METRIC,
    FEATURES,
    DATASET,
    IDS_FILE,
    RANGES,
    BOXES,
    IDS,
    NAMES,
    LAYOUT,
    GRID,
    DTYPE,
    ENCODING,
    SHAPE,
    RAW_DTYPE,
    SIZES,
    MISSING,
    PIXELS,
    PIXEL_NAMES,
    SIZE,
    PICTURES,
    PICTURE_NAMES
};

static hp_status_t set_question_option(arguments_t *a, int option, char *value, hp_error_t *err) {
    wk_vqa_import_t *import = &a->import;
    wk_vqa_split_t *split;
    switch (option) {
    case SPLIT:
        return add_split(a, value, err);
    case QUESTIONS:
    case ANNOTATIONS:
        if (import->splits == 0) HP_TRY(add_split(a, "train", err));
        split = &a->split[import->splits - 1];
        return option == QUESTIONS
                   ? add_files(a, "--questions", value, split->question, &split->questions, err)
                   : add_files(a, "--annotations", value, split->annotation, &split->annotations,
                               err);
    case VOCABULARY:
        import->vocabulary = value;
        return HP_OK;
    case ANSWER_VOCABULARY:
        import->answer_vocabulary = value;
        return HP_OK;
    case ANSWERS:
        return count("--answers", value, &import->answers, err);
    case MIN_ANSWER:
        return count("--min-answer", value, &import->least_answer, err);
    case MIN_WORD:
        return count("--min-word", value, &import->least_word, err);
    case TOKENIZER:
        return cli_parse_tokenizer(value, &a->import.tokenizer, err);
    default:
        return set_metric(a, value, err);
    }
}

static hp_status_t set_image_option(arguments_t *a, int option, char *value, hp_error_t *err) {
    switch (option) {
    case OUT:
        a->import.out = value;
        return HP_OK;
    case FEATURES:
        if (a->paths == MAX_FEATURES)
            return hp_fail(err, HP_INPUT, "--features: at most %d", MAX_FEATURES);
        a->path[a->paths++] = value;
        return HP_OK;
    case DATASET:
        a->features[0].dataset = value;
        return HP_OK;
    case IDS_FILE:
        if (a->ids_files == MAX_FEATURES)
            return hp_fail(err, HP_INPUT, "--ids: at most %d", MAX_FEATURES);
        a->ids_file[a->ids_files++] = value;
        return HP_OK;
    case RANGES:
        a->features[0].ranges_dataset = value;
        return HP_OK;
    case BOXES:
        a->features[0].boxes_dataset = value;
        return HP_OK;
    case IDS:
        a->features[0].ids_dataset = value;
        return HP_OK;
    case NAMES:
        a->features[0].pattern = value;
        return HP_OK;
    case LAYOUT:
        return wk_layout_parse(value, &a->features[0].layout, err) == HP_OK
                   ? HP_OK
                   : hp_fail_prefix(err, "--layout");
    case GRID:
        return set_grid(a, value, err);
    case DTYPE:
        return cli_parse_dtype("--dtype", value, &a->import.dtype, err);
    case SHAPE:
        return set_shape(a, value, err);
    case SIZES:
        return set_sizes(a, value, err);
    case RAW_DTYPE:
        return cli_parse_dtype("--raw-dtype", value, &a->features[0].raw_dtype, err);
    case ENCODING:
        return cli_parse_encoding(value, &a->import.encoding, err);
    case MISSING:
        a->import.skip_missing = strcmp(value, "skip") == 0;
        if (a->import.skip_missing || strcmp(value, "refuse") == 0) return HP_OK;
        return hp_fail(err, HP_INPUT, "--missing-images %s: allowed are refuse, skip", value);
    case PIXELS:
        a->import.pixels = value;
        return HP_OK;
    case PIXEL_NAMES:
        a->import.pixel_pattern = value;
        return HP_OK;
    case SIZE:
        return cli_parse_size(value, &a->import.pixel_height, &a->import.pixel_width, err);
    case PICTURES:
        a->import.pictures = value;
        return HP_OK;
    default:
        a->import.picture_pattern = value;
        return HP_OK;
    }
}

/* The sources of features, each with the next. */
static hp_status_t set_features(arguments_t *a, hp_error_t *err) {
    if (a->ids_files > 0 && a->ids_files != a->paths)
        return hp_fail(err, HP_INPUT, "--ids: %d files for %d --features: one for each is needed",
                       a->ids_files, a->paths);
    for (int i = 0; i < a->paths; i++) {
        a->features[i] = a->features[0];
        a->features[i].path = a->path[i];
        a->features[i].ids_file = a->ids_files > 0 ? a->ids_file[i] : NULL;
        a->features[i].next = NULL;
        if (i > 0) a->features[i - 1].next = &a->features[i];
        if (a->import.clevr != NULL && i < WK_CLEVR_SPLITS) {
            snprintf(a->numbered[i], sizeof a->numbered[i], "CLEVR_%s_%%06d.png",
                     wk_clevr_split(i));
            a->features[i].numbered = a->numbered[i];
        }
    }
    if (a->import.clevr != NULL && (a->paths == 0 || a->paths > WK_CLEVR_SPLITS))
        return hp_fail(err, HP_INPUT, "--features: one each for train, val and test");
    if (a->paths > 0) a->import.features = a->features;
    return HP_OK;
}

static hp_status_t check(arguments_t *a, hp_error_t *err) {
    if (a->import.out == NULL) return hp_fail(err, HP_INPUT, "--out STORE is needed");
    const bool given = a->import.lines > 0 || a->import.clevr != NULL;
    if (given && a->import.splits > 0)
        return hp_fail(err, HP_INPUT, "--questions, --annotations and --split are for vqa");
    if (!given && a->import.splits == 0)
        return hp_fail(err, HP_INPUT, "--questions FILE is needed");
    for (int s = 0; s < a->import.splits; s++)
        if (a->split[s].questions == 0)
            return hp_fail(err, HP_INPUT, "split %s has no --questions", a->split[s].name);
    a->import.split = a->split;
    if (a->import.answers == 0)
        a->import.answers = a->import.least_answer > 1 ? INT32_MAX - 1 : 1000;
    return set_features(a, err);
}

/* What stands after the options: the format, and files of JSON Lines. */
static hp_status_t take_operands(arguments_t *a, int operands, char **operand, hp_error_t *err) {
    const char *format = operands > 0 ? operand[0] : "";
    if (strcmp(format, "jsonl") == 0) {
        if (operands < 2) return hp_fail(err, HP_INPUT, "FILE is missing; see --help");
        for (int i = 1; i < operands; i++)
            HP_TRY(add_file("jsonl", operand[i], a->import.line, &a->import.lines, err));
        a->import.guess_metric = !a->has_metric;
        return HP_OK;
    }
    if (strcmp(format, "clevr") == 0) {
        if (operands != 2) return hp_fail(err, HP_INPUT, "one FOLDER is needed; see --help");
        a->import.clevr = operand[1];
        if (!a->has_metric) a->import.metric = HP_METRIC_EXACT;
        return HP_OK;
    }
    if (operands != 1 || strcmp(format, "vqa") != 0)
        return hp_fail(err, HP_INPUT,
                       "%s: the format to import is needed: vqa, jsonl, nlvr or clevr",
                       operands > 0 ? operand[operands - 1] : "import");
    return HP_OK;
}

static void report(const arguments_t *a, const wk_vqa_report_t *r) {
    printf("%s: %" PRIu64 " images, %" PRIu64 " questions", a->import.out, r->images, r->questions);
    if (r->kept_images > 0) printf(" (%" PRIu64 " images kept from before)", r->kept_images);
    printf("\n%d words, %d answers; the rarest answer came %" PRIu64 " times\n", r->words,
           r->answers, r->last_count);
    printf("%" PRIu64
           " questions without a label: scored, not trained on unless data.labels counts "
           "other answers\n",
           r->unlabelled);
    if (r->skipped > 0)
        printf("%" PRIu64 " questions left out: no features of their image\n", r->skipped);
    if (a->import.pictures != NULL) printf("%" PRIu64 " pictures\n", r->pictures);
}

static hp_status_t parse(arguments_t *a, int argc, char **argv, bool *help, hp_error_t *err) {
    static const struct option table[] = {{"out", 1, NULL, OUT},
                                          {"split", 1, NULL, SPLIT},
                                          {"questions", 1, NULL, QUESTIONS},
                                          {"annotations", 1, NULL, ANNOTATIONS},
                                          {"vocabulary", 1, NULL, VOCABULARY},
                                          {"answer-vocabulary", 1, NULL, ANSWER_VOCABULARY},
                                          {"answers", 1, NULL, ANSWERS},
                                          {"min-answer", 1, NULL, MIN_ANSWER},
                                          {"min-occurrences", 1, NULL, MIN_ANSWER},
                                          {"min-word", 1, NULL, MIN_WORD},
                                          {"tokenizer", 1, NULL, TOKENIZER},
                                          {"metric", 1, NULL, METRIC},
                                          {"features", 1, NULL, FEATURES},
                                          {"features-dataset", 1, NULL, DATASET},
                                          {"ids-dataset", 1, NULL, IDS},
                                          {"ids", 1, NULL, IDS_FILE},
                                          {"ranges-dataset", 1, NULL, RANGES},
                                          {"boxes-dataset", 1, NULL, BOXES},
                                          {"names", 1, NULL, NAMES},
                                          {"layout", 1, NULL, LAYOUT},
                                          {"grid", 1, NULL, GRID},
                                          {"dtype", 1, NULL, DTYPE},
                                          {"shape", 1, NULL, SHAPE},
                                          {"image-sizes", 1, NULL, SIZES},
                                          {"raw-dtype", 1, NULL, RAW_DTYPE},
                                          {"encoding", 1, NULL, ENCODING},
                                          {"missing-images", 1, NULL, MISSING},
                                          {"pixels", 1, NULL, PIXELS},
                                          {"pixel-names", 1, NULL, PIXEL_NAMES},
                                          {"size", 1, NULL, SIZE},
                                          {"pictures", 1, NULL, PICTURES},
                                          {"picture-names", 1, NULL, PICTURE_NAMES},
                                          {"help", 0, NULL, 'h'},
                                          {0}};
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "h", table, NULL)) != -1) {
        if (option == 'h') {
            *help = true;
            return HP_OK;
        }
        if (option == '?') return cli_bad_option(argv, err);
        HP_TRY(option >= SPLIT && option <= METRIC ? set_question_option(a, option, optarg, err)
                                                   : set_image_option(a, option, optarg, err));
    }
    HP_TRY(take_operands(a, argc - optind, argv + optind, err));
    return check(a, err);
}

hp_status_t cli_data_import(int argc, char **argv, hp_error_t *err) {
    bool has_features = false;
    for (int i = 1; i < argc; i++) has_features |= strncmp(argv[i], "--features", 10) == 0;
    if (argc > 1 &&
        (strcmp(argv[1], "nlvr") == 0 || (strcmp(argv[1], "clevr") == 0 && !has_features)))
        return cli_data_import_pixels(argc, argv, err);
    static const wk_features_options_t features = {.dataset = "features",
                                                   .ids_dataset = "ids",
                                                   .ranges_dataset = "pos_boxes",
                                                   .pattern = "%d.npy",
                                                   .raw_dtype = HP_DTYPE_F32};
    cli_import_line_t line;
    cli_import_line_begin(&line);
    arguments_t a = {.features = {features}};
    a.import = (wk_vqa_import_t){.dtype = HP_DTYPE_F16,
                                 .picture_pattern = "%d.jpg",
                                 .pixel_pattern = "%d.jpg",
                                 .pixel_height = 128,
                                 .pixel_width = 128,
                                 .least_answer = 1,
                                 .least_word = 1,
                                 .tokenizer = wk_tokenizer_find("words"),
                                 .progress = cli_import_line_show,
                                 .context = &line,
                                 .command = a.command};
    size_t used = (size_t)snprintf(a.command, TEXT, "hanps data");
    for (int i = 0; i < argc && used < TEXT; i++)
        used += (size_t)snprintf(a.command + used, TEXT - used, " %s", argv[i]);
    bool help = false;
    hp_status_t status = parse(&a, argc, argv, &help, err);
    if (help) fputs(usage, stdout);
    wk_vqa_report_t result = {0};
    if (status == HP_OK && !help) status = wk_vqa_import(&a.import, &result, err);
    cli_import_line_end(&line);
    if (status == HP_OK && !help) report(&a, &result);
    while (a.lists > 0) free(a.list[--a.lists]);
    return status; /* NOLINT(clang-analyzer-unix.Malloc): it does not follow the loop above */
}
