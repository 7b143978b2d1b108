#include "ps/shard.h"

#include "common/memory.h"
#include "common/vector.h"

#include <pthread.h>
#include <string.h>

enum { WEIGHTS, FIRST, SECOND, STATES };

typedef struct {
    int number; /* in the plan */
    const hp_chunk_t *info;
    int64_t floats;
    ps_buffer_t *state[STATES]; /* published weights, moments */
    ps_buffer_t *before;        /* the weights before the published ones, or NULL */
    ps_buffer_t *free;
    int64_t sequence, version, updates;
    float *sum;             /* [floats]; of sparse rows: zero where not touched */
    unsigned char *touched; /* [rows] */
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

/* A buffer nobody holds, counted once for the caller. Under the lock. */
static ps_buffer_t *fresh(ps_shard_t *shard, int chunk, hp_error_t *err) {
    chunk_t *c = &shard->chunk[chunk];
    ps_buffer_t *b = c->free;
    if (b != NULL) {
        c->free = b->next;
    } else {
        void *p = NULL, *data = NULL;
        if (hp_allocate(&p, 1, sizeof *b, "buffer of a chunk", err) != HP_OK) return NULL;
        if (hp_allocate(&data, (size_t)c->floats, sizeof(float), "buffer of a chunk", err) !=
            HP_OK) {
            hp_free(p);
            return NULL;
        }
        b = p;
        b->data = data;
        b->chunk = chunk;
        shard->bytes += (uint64_t)c->floats * sizeof(float);
    }
    b->refs = 1;
    return b;
}

static void give(ps_shard_t *shard, ps_buffer_t *b) { /* under the lock */
    if (--b->refs > 0) return;
    chunk_t *c = &shard->chunk[b->chunk];
    b->next = c->free;
    c->free = b;
}

static hp_status_t create_chunk(ps_shard_t *shard, int i, hp_error_t *err) {
    chunk_t *c = &shard->chunk[i];
    void *sum = NULL, *touched = NULL;
    HP_TRY(hp_allocate(&sum, (size_t)c->floats, sizeof(float), "summed gradient", err));
    c->sum = sum;
    if (c->info->rows > 0) {
        HP_TRY(hp_allocate(&touched, (size_t)c->info->rows, 1, "touched rows", err));
        c->touched = touched;
    }
    for (int k = 0; k < STATES; k++)
        if ((c->state[k] = fresh(shard, i, err)) == NULL) return HP_MEMORY;
    ps_buffer_t *spare = fresh(shard, i, err); /* the first update's */
    if (spare == NULL) return HP_MEMORY;
    give(shard, spare);
    return HP_OK;
}

size_t ps_shard_memory(const hp_shard_plan_t *plan, int server) {
    /* the sum, the states, the first update's buffer, the weights before the newest; a cut's */
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

void ps_shard_destroy(ps_shard_t *shard) {
    if (shard == NULL) return;
    for (int i = 0; i < shard->chunks; i++) {
        chunk_t *c = &shard->chunk[i];
        for (int k = 0; k < STATES; k++)
            if (c->state[k] != NULL) give(shard, c->state[k]);
        if (c->before != NULL) give(shard, c->before);
        while (c->free != NULL) {
            ps_buffer_t *b = c->free;
            c->free = b->next;
            hp_free(b->data);
            hp_free(b);
        }
        hp_free(c->sum);
        hp_free(c->touched);
    }
    pthread_mutex_destroy(&shard->lock);
    hp_free(shard->chunk);
    hp_free(shard->local);
    hp_free(shard);
}

void ps_shard_initialise(ps_shard_t *shard, uint64_t seed) {
    for (int i = 0; i < shard->chunks; i++) {
        chunk_t *c = &shard->chunk[i];
        hp_params_initialise(shard->params, seed, c->info->begin, c->info->end,
                             c->state[WEIGHTS]->data);
    }
}

hp_status_t ps_shard_load(ps_shard_t *shard, hp_checkpoint_t *checkpoint, hp_error_t *err) {
    for (int i = 0; i < shard->chunks; i++) {
        chunk_t *c = &shard->chunk[i];
        HP_TRY(hp_checkpoint_chunk(checkpoint, c->info->begin, &c->version, &c->updates, err));
        HP_TRY(hp_checkpoint_read(checkpoint, c->info->begin, c->info->end, c->state[WEIGHTS]->data,
                                  c->state[FIRST]->data, c->state[SECOND]->data, err));
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
        b = c->state[WEIGHTS];
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

static void fold_rows(chunk_t *c, const float *part) {
    const int32_t *head = (const int32_t *)(const void *)part, *row = head + HP_ROWS_HEAD;
    const float *value = part + HP_ROWS_HEAD + hp_rows_index_words(head[0]);
    int64_t width = c->info->row_width;
    for (int32_t k = 0; k < head[0]; k++) {
        hp_add(c->sum + row[k] * width, value + k * width, width);
        c->touched[row[k]] = 1;
    }
}

static void weigh(const chunk_t *c, float *part, float weight) {
    if (c->info->rows == 0) {
        hp_scale(part, weight, c->floats);
        return;
    }
    int32_t rows = *(const int32_t *)(const void *)part;
    hp_scale(part + HP_ROWS_HEAD + hp_rows_index_words(rows), weight, rows * c->info->row_width);
}

void ps_shard_fold(ps_shard_t *shard, int chunk, bool first, double weight, float **part_p) {
    chunk_t *c = &shard->chunk[chunk];
    if (weight != 1 && !c->info->buffer) weigh(c, *part_p, (float)weight);
    if (c->info->rows > 0) {
        fold_rows(c, *part_p);
    } else if (first) {
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
    if (c->info->rows == 0) return hp_sum_squares(c->sum, c->floats);
    double sum = 0;
    for (int r = 0; r < c->info->rows; r++)
        if (c->touched[r])
            sum += hp_sum_squares(c->sum + (int64_t)r * c->info->row_width, c->info->row_width);
    return sum;
}

/* Adam over elements [begin, begin + n) of a chunk. */
static void adam(const ps_shard_t *shard, const chunk_t *c, const ps_update_t *u, bool decay,
                 ps_buffer_t *const to[STATES], int64_t begin, int64_t n) {
    ps_adam_t a = shard->adam;
    a.lr = u->rate;
    if (!decay) a.l2 = a.decoupled = 0;
    ps_adam(&a, c->updates + 1, n, c->sum + begin, u->scale, c->state[WEIGHTS]->data + begin,
            to[WEIGHTS]->data + begin, c->state[FIRST]->data + begin, to[FIRST]->data + begin,
            c->state[SECOND]->data + begin, to[SECOND]->data + begin);
}

/* The whole chunk, parameter by parameter where some of them do not decay. */
static void adam_all(const ps_shard_t *shard, const chunk_t *c, const ps_update_t *u,
                     ps_buffer_t *const to[STATES]) {
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
                    ps_buffer_t *const to[STATES]) {
    size_t bytes = (size_t)c->floats * sizeof(float);
    if (c->info->buffer) {
        for (int64_t i = 0; i < c->floats; i++) to[WEIGHTS]->data[i] = c->sum[i] / (float)u->units;
    } else if (c->info->rows > 0 && shard->lazy) {
        int64_t width = c->info->row_width;
        for (int k = 0; k < STATES; k++)
            if (to[k] != c->state[k]) memcpy(to[k]->data, c->state[k]->data, bytes);
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
    ps_buffer_t *to[STATES] = {0};
    if (!u->skip) {
        pthread_mutex_lock(&shard->lock);
        bool ok = (to[WEIGHTS] = fresh(shard, chunk, err)) != NULL;
        for (int k = FIRST; ok && k < STATES; k++) {
            to[k] = c->state[k];
            /* a snapshot holds it */
            if (!c->info->buffer && c->state[k]->refs > 1)
                ok = (to[k] = fresh(shard, chunk, err)) != NULL;
        }
        pthread_mutex_unlock(&shard->lock);
        if (!ok) return HP_MEMORY;
        compute(shard, c, u, to);

        if (c->info->rows > 0) empty_rows(c);
    }
    pthread_mutex_lock(&shard->lock);
    if (shard->keep) {
        if (c->before != NULL) give(shard, c->before);
        c->before = c->state[WEIGHTS];
        c->before->refs++;
    }
    for (int k = 0; !u->skip && k < STATES; k++)
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
                                    .weights = c->state[WEIGHTS]->data,
                                    .first_moment = c->state[FIRST]->data,
                                    .second_moment = c->state[SECOND]->data};
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
