#include "ps/shard.h"

#include "common/memory.h"
#include "common/vector.h"

#include <pthread.h>
#include <string.h>

/* PUBLISHED: only where chunks are half; elsewhere the weights are what is published. */
enum { WEIGHTS, FIRST, SECOND, STATES, PUBLISHED = STATES, KINDS };
enum { PIECE = 4096 }; /* numbers of an update at a time: they stay in the first caches */

typedef struct {
    int number; /* in the plan */
    const hp_chunk_t *info;
    int64_t floats;
    ps_buffer_t *state[KINDS];
    ps_buffer_t *before;  /* what was published before, or NULL */
    ps_buffer_t *free[2]; /* float, half */
    int64_t sequence, version, updates;
    float *sum;             /* [floats]; of sparse rows: zero where not touched */
    unsigned char *touched; /* [rows] */
    hp_bf16_t *single;      /* [floats] of a dense chunk that is half: the only push so far */
    bool is_single;         /* it is in `single`, not in `sum` */
} chunk_t;

struct ps_shard {
    const hp_shard_plan_t *plan;
    const hp_params_t *params;
    ps_adam_t adam;
    hp_decay_on_t decay_on;
    bool lazy, keep;
    int chunks;
    chunk_t *chunk;
    int *local;           /* [plan->chunks] */
    pthread_mutex_t lock; /* buffers' counts and lists, state[], clocks */
    uint64_t bytes;
};

static float *numbers(const ps_buffer_t *buffer) { return buffer->data; }

static int published(const chunk_t *c) { return c->info->half ? PUBLISHED : WEIGHTS; }

/* A buffer nobody holds, counted once for the caller. Under the lock. */
static ps_buffer_t *fresh(ps_shard_t *shard, int chunk, int kind, hp_error_t *err) {
    chunk_t *c = &shard->chunk[chunk];
    const bool half = kind == PUBLISHED;
    ps_buffer_t *b = c->free[half];
    if (b != NULL) {
        c->free[half] = b->next;
    } else {
        void *p = NULL, *data = NULL;
        const size_t size = half ? sizeof(hp_bf16_t) : sizeof(float);
        if (hp_allocate(&p, 1, sizeof *b, "buffer of a chunk", err) != HP_OK) return NULL;
        if (hp_allocate(&data, (size_t)c->floats, size, "buffer of a chunk", err) != HP_OK) {
            hp_free(p);
            return NULL;
        }
        b = p;
        b->data = data;
        b->chunk = chunk;
        b->half = half;
        shard->bytes += (uint64_t)c->floats * size;
    }
    b->refs = 1;
    return b;
}

static void give(ps_shard_t *shard, ps_buffer_t *b) { /* under the lock */
    if (--b->refs > 0) return;
    chunk_t *c = &shard->chunk[b->chunk];
    b->next = c->free[b->half];
    c->free[b->half] = b;
}

static hp_status_t create_chunk(ps_shard_t *shard, int i, hp_error_t *err) {
    chunk_t *c = &shard->chunk[i];
    void *sum = NULL, *touched = NULL, *single = NULL;
    HP_TRY(hp_allocate(&sum, (size_t)c->floats, sizeof(float), "summed gradient", err));
    c->sum = sum;
    if (c->info->rows > 0) {
        HP_TRY(hp_allocate(&touched, (size_t)c->info->rows, 1, "touched rows", err));
        c->touched = touched;
    } else if (c->info->half) {
        HP_TRY(hp_allocate(&single, (size_t)c->floats, sizeof *c->single, "gradient", err));
        c->single = single;
    }
    for (int k = 0; k < (c->info->half ? KINDS : STATES); k++)
        if ((c->state[k] = fresh(shard, i, k, err)) == NULL) return HP_MEMORY;
    ps_buffer_t *spare = fresh(shard, i, published(c), err); /* the first update's */
    if (spare == NULL) return HP_MEMORY;
    give(shard, spare);
    return HP_OK;
}

size_t ps_shard_memory(const hp_shard_plan_t *plan, int server) {
    /* the sum, the states, the first update's buffer, the weights before the newest; a cut's.
     * With halves four of them, published and a push, are in the place of the two of weights. */
    return (1 + STATES + 1 + 1 + STATES) * (size_t)plan->server_floats[server] * sizeof(float);
}

hp_status_t ps_shard_create(const hp_shard_plan_t *plan, const hp_params_t *params, int server,
                            const ps_adam_t *adam, hp_decay_on_t decay_on, bool lazy, bool keep,
                            ps_shard_t **shard_p, hp_error_t *err) {
    void *p = NULL, *chunk = NULL, *local = NULL;
    HP_TRY(hp_allocate(&p, 1, sizeof(ps_shard_t), "shard", err));
    ps_shard_t *shard = p;
    shard->plan = plan;
    shard->params = params;
    shard->adam = *adam;
    shard->decay_on = decay_on;
    shard->lazy = lazy;
    shard->keep = keep;
    pthread_mutex_init(&shard->lock, NULL);
    hp_status_t st = hp_allocate(&chunk, (size_t)plan->chunks, sizeof(chunk_t), "shard", err);
    shard->chunk = chunk;
    if (st == HP_OK) st = hp_allocate(&local, (size_t)plan->chunks, sizeof(int), "shard", err);
    shard->local = local;
    for (int i = 0; st == HP_OK && i < plan->chunks; i++) {
        int number = plan->by_need[i];
        const hp_chunk_t *info = &plan->chunk[number];
        shard->local[number] = -1;
        if (info->server != server) continue;
        int k = shard->chunks++;
        shard->local[number] = k;
        shard->chunk[k] =
            (chunk_t){.number = number, .info = info, .floats = hp_chunk_floats(info)};
        st = create_chunk(shard, k, err);
    }
    if (st != HP_OK) {
        ps_shard_destroy(shard);
        return st;
    }
    *shard_p = shard;
    return HP_OK;
}

static void free_list(ps_buffer_t *b) {
    while (b != NULL) {
        ps_buffer_t *next = b->next;
        hp_free(b->data);
        hp_free(b);
        b = next;
    }
}

void ps_shard_destroy(ps_shard_t *shard) {
    if (shard == NULL) return;
    for (int i = 0; i < shard->chunks; i++) {
        chunk_t *c = &shard->chunk[i];
        for (int k = 0; k < KINDS; k++)
            if (c->state[k] != NULL) give(shard, c->state[k]);
        if (c->before != NULL) give(shard, c->before);
        free_list(c->free[0]);
        free_list(c->free[1]);
        hp_free(c->single);
        hp_free(c->sum);
        hp_free(c->touched);
    }
    pthread_mutex_destroy(&shard->lock);
    hp_free(shard->chunk);
    hp_free(shard->local);
    hp_free(shard);
}

static void publish_all(const chunk_t *c) {
    if (c->info->half)
        hp_bf16_round(c->state[PUBLISHED]->data, numbers(c->state[WEIGHTS]), c->floats);
}

void ps_shard_initialise(ps_shard_t *shard, uint64_t seed) {
    for (int i = 0; i < shard->chunks; i++) {
        chunk_t *c = &shard->chunk[i];
        hp_params_initialise(shard->params, seed, c->info->begin, c->info->end,
                             numbers(c->state[WEIGHTS]));
        publish_all(c);
    }
}

hp_status_t ps_shard_load(ps_shard_t *shard, hp_checkpoint_t *checkpoint, hp_error_t *err) {
    for (int i = 0; i < shard->chunks; i++) {
        chunk_t *c = &shard->chunk[i];
        HP_TRY(hp_checkpoint_chunk(checkpoint, c->info->begin, &c->version, &c->updates, err));
        HP_TRY(hp_checkpoint_read(checkpoint, c->info->begin, c->info->end,
                                  numbers(c->state[WEIGHTS]), numbers(c->state[FIRST]),
                                  numbers(c->state[SECOND]), err));
        publish_all(c);
    }
    return HP_OK;
}

int ps_shard_chunks(const ps_shard_t *shard) { return shard->chunks; }
const hp_chunk_t *ps_shard_chunk(const ps_shard_t *shard, int i) { return shard->chunk[i].info; }
int ps_shard_number(const ps_shard_t *shard, int i) { return shard->chunk[i].number; }

int ps_shard_local(const ps_shard_t *shard, int number) {
    return number < 0 || number >= shard->plan->chunks ? -1 : shard->local[number];
}

ps_buffer_t *ps_shard_take(ps_shard_t *shard, int chunk, int64_t sequence) {
    chunk_t *c = &shard->chunk[chunk];
    pthread_mutex_lock(&shard->lock);
    ps_buffer_t *b = NULL;
    if (sequence == c->sequence)
        b = c->state[published(c)];
    else if (sequence == c->sequence - 1)
        b = c->before;
    if (b != NULL) b->refs++;
    pthread_mutex_unlock(&shard->lock);
    return b;
}

void ps_shard_give(ps_shard_t *shard, ps_buffer_t *buffer) {
    pthread_mutex_lock(&shard->lock);
    give(shard, buffer);
    pthread_mutex_unlock(&shard->lock);
}

int64_t ps_shard_sequence(ps_shard_t *shard, int chunk) {
    pthread_mutex_lock(&shard->lock);
    int64_t sequence = shard->chunk[chunk].sequence;
    pthread_mutex_unlock(&shard->lock);
    return sequence;
}

/* sum += weight part */
static void add_half(float *sum, const hp_bf16_t *part, int64_t n, float weight) {
    float piece[PIECE];
    if (weight == 1) {
        hp_bf16_add(sum, part, n);
        return;
    }
    for (int64_t at = 0; at < n; at += PIECE) {
        const int64_t count = n - at < PIECE ? n - at : PIECE;
        hp_bf16_unpack(piece, part + at, count);
        hp_scale(piece, weight, count);
        hp_add(sum + at, piece, count);
    }
}

static void fold_rows(chunk_t *c, void *part, float weight) {
    int32_t *head = part, *row = head + HP_ROWS_HEAD;
    void *value = row + hp_rows_index_words(head[0]);
    int64_t width = c->info->row_width;
    if (weight != 1 && !c->info->half) hp_scale(value, weight, head[0] * width);
    for (int32_t k = 0; k < head[0]; k++) {
        float *sum = c->sum + row[k] * width;
        if (c->info->half)
            add_half(sum, (const hp_bf16_t *)value + k * width, width, weight);
        else
            hp_add(sum, (const float *)value + k * width, width);
        c->touched[row[k]] = 1;
    }
}

/* A single push stays as it came; with the second both are decoded in one pass. */
static void fold_half(chunk_t *c, bool first, void **part_p, float weight) {
    hp_bf16_t *part = *part_p;
    if (first && weight == 1) {
        *part_p = c->single;
        c->single = part;
        c->is_single = true;
        return;
    }
    if (first) memset(c->sum, 0, (size_t)c->floats * sizeof *c->sum);
    for (int64_t at = 0; at < c->floats; at += PIECE) {
        const int64_t n = c->floats - at < PIECE ? c->floats - at : PIECE;
        if (c->is_single) hp_bf16_unpack(c->sum + at, c->single + at, n);
        add_half(c->sum + at, part + at, n, weight);
    }
    c->is_single = false;
}

void ps_shard_fold(ps_shard_t *shard, int chunk, bool first, double weight, void **part_p) {
    chunk_t *c = &shard->chunk[chunk];
    const float w = c->info->buffer ? 1 : (float)weight;
    if (c->info->rows > 0) {
        fold_rows(c, *part_p, w);
        return;
    }
    if (c->info->half) {
        fold_half(c, first, part_p, w);
        return;
    }
    if (w != 1) hp_scale(*part_p, w, c->floats);
    if (first) {
        float *sum = c->sum;
        c->sum = *part_p;
        *part_p = sum;
    } else {
        hp_add(c->sum, *part_p, c->floats);
    }
}

double ps_shard_norm(const ps_shard_t *shard, int chunk) {
    const chunk_t *c = &shard->chunk[chunk];
    if (c->info->buffer) return 0;
    if (c->is_single) return hp_bf16_sum_squares(c->single, c->floats);
    if (c->info->rows == 0) return hp_sum_squares(c->sum, c->floats);
    double sum = 0;
    for (int r = 0; r < c->info->rows; r++)
        if (c->touched[r])
            sum += hp_sum_squares(c->sum + (int64_t)r * c->info->row_width, c->info->row_width);
    return sum;
}

/* Adam over elements [begin, begin + n) of a chunk, piece by piece: a gradient is decoded, and new
 * weights are rounded, while they are near. */
static void adam(const ps_shard_t *shard, const chunk_t *c, const ps_update_t *u, bool decay,
                 ps_buffer_t *const to[KINDS], int64_t begin, int64_t n) {
    float decoded[PIECE];
    ps_adam_t a = shard->adam;
    a.lr = u->rate;
    if (!decay) a.l2 = a.decoupled = 0;
    for (int64_t at = begin, piece; at < begin + n; at += piece) {
        piece = begin + n - at < PIECE ? begin + n - at : PIECE;
        const float *gradient = c->sum + at;
        if (c->is_single) {
            hp_bf16_unpack(decoded, c->single + at, piece);
            gradient = decoded;
        }
        float *weights = numbers(to[WEIGHTS]) + at;
        ps_adam(&a, c->updates + 1, piece, gradient, u->scale, numbers(c->state[WEIGHTS]) + at,
                weights, numbers(c->state[FIRST]) + at, numbers(to[FIRST]) + at,
                numbers(c->state[SECOND]) + at, numbers(to[SECOND]) + at);
        if (c->info->half) hp_bf16_round((hp_bf16_t *)to[PUBLISHED]->data + at, weights, piece);
    }
}

/* The whole chunk, parameter by parameter where some of them do not decay. */
static void adam_all(const ps_shard_t *shard, const chunk_t *c, const ps_update_t *u,
                     ps_buffer_t *const to[KINDS]) {
    bool alike =
        shard->decay_on == HP_DECAY_ALL || (shard->adam.l2 == 0 && shard->adam.decoupled == 0);
    for (int i = c->info->first_param; i <= c->info->last_param && !alike; i++) {
        const hp_param_t *p = &shard->params->param[i];
        int64_t begin = p->offset > c->info->begin ? p->offset : c->info->begin;
        int64_t end = i < c->info->last_param ? p[1].offset : c->info->end;
        if (begin < end) adam(shard, c, u, p->dims > 1, to, begin - c->info->begin, end - begin);
    }
    if (alike) adam(shard, c, u, true, to, 0, c->floats);
}

static void compute(const ps_shard_t *shard, const chunk_t *c, const ps_update_t *u,
                    ps_buffer_t *const to[KINDS]) {
    if (c->info->buffer) {
        float *mean = numbers(to[WEIGHTS]);
        for (int64_t i = 0; i < c->floats; i++) mean[i] = c->sum[i] / (float)u->units;
    } else if (c->info->rows > 0 && shard->lazy) {
        int64_t width = c->info->row_width;
        for (int k = 0; k < KINDS; k++)
            if (to[k] != c->state[k])
                memcpy(to[k]->data, c->state[k]->data,
                       (size_t)c->floats * (to[k]->half ? sizeof(hp_bf16_t) : sizeof(float)));
        for (int r = 0; r < c->info->rows; r++)
            if (c->touched[r]) adam(shard, c, u, true, to, r * width, width);
    } else {
        adam_all(shard, c, u, to);
    }
}

static void empty_rows(chunk_t *c) {
    int64_t width = c->info->row_width;
    for (int r = 0; r < c->info->rows; r++)
        if (c->touched[r]) memset(c->sum + r * width, 0, (size_t)width * sizeof(float));
    memset(c->touched, 0, (size_t)c->info->rows);
}

hp_status_t ps_shard_update(ps_shard_t *shard, int chunk, const ps_update_t *u, hp_error_t *err) {
    chunk_t *c = &shard->chunk[chunk];
    ps_buffer_t *to[KINDS] = {0};
    if (!u->skip) {
        pthread_mutex_lock(&shard->lock);
        bool ok = true;
        for (int k = 0; ok && k < KINDS; k++) {
            to[k] = c->state[k];
            /* what is published is read by others; a snapshot holds what has more than one */
            if (k == published(c) || (!c->info->buffer && k < STATES && c->state[k]->refs > 1))
                ok = (to[k] = fresh(shard, chunk, k, err)) != NULL;
        }
        pthread_mutex_unlock(&shard->lock);
        if (!ok) return HP_MEMORY;
        compute(shard, c, u, to);

        if (c->info->rows > 0) empty_rows(c);
        c->is_single = false;
    }
    pthread_mutex_lock(&shard->lock);
    if (shard->keep) {
        if (c->before != NULL) give(shard, c->before);
        c->before = c->state[published(c)];
        c->before->refs++;
    }
    for (int k = 0; !u->skip && k < KINDS; k++)
        if (to[k] != c->state[k]) {
            give(shard, c->state[k]);
            c->state[k] = to[k];
        }
    c->sequence++;
    c->version++;
    c->updates += u->skip ? 0 : 1;
    pthread_mutex_unlock(&shard->lock);
    return HP_OK;
}

void ps_shard_hold(ps_shard_t *shard, hp_shard_chunk_t *out, ps_buffer_t *(*held)[3]) {
    pthread_mutex_lock(&shard->lock);
    for (int i = 0; i < shard->chunks; i++) {
        chunk_t *c = &shard->chunk[i];
        for (int k = 0; k < STATES; k++) {
            held[i][k] = c->state[k];
            held[i][k]->refs++;
        }
        out[i] = (hp_shard_chunk_t){.begin = c->info->begin,
                                    .end = c->info->end,
                                    .version = c->version,
                                    .updates = c->updates,
                                    .weights = numbers(c->state[WEIGHTS]),
                                    .first_moment = numbers(c->state[FIRST]),
                                    .second_moment = numbers(c->state[SECOND])};
    }
    pthread_mutex_unlock(&shard->lock);
}

void ps_shard_release(ps_shard_t *shard, ps_buffer_t *(*held)[3]) {
    pthread_mutex_lock(&shard->lock);
    for (int i = 0; i < shard->chunks; i++)
        for (int k = 0; k < STATES; k++) give(shard, held[i][k]);
    pthread_mutex_unlock(&shard->lock);
}

uint64_t ps_shard_bytes(ps_shard_t *shard) {
    pthread_mutex_lock(&shard->lock);
    uint64_t bytes = shard->bytes;
    pthread_mutex_unlock(&shard->lock);
    return bytes;
}
