/* Saved translations, see saved.h. */
#include "jit/rt/saved.h"

#include <errno.h>

#include "jit/rt/access.h"

#define SAVED_MAGIC UINT64_C(0x3330746970697020)
#define SAVED_UNIT 8 /* records are aligned to, and named by multiples of, this many bytes */
#define SAVED_PROBES_MAX 64
#define SAVED_BITS_MAX 20

struct saved_header {
    uint64_t magic;
    uint8_t key[JIT_SAVED_KEY];
    uint32_t size;  /* of the image */
    uint32_t bits;  /* log2 of the number of slots that follow */
    uint32_t count; /* of records */
    uint32_t crc;   /* of all before */
};

/* Open addressing by place: a record is looked at only when it is for that. Looking at others would cost a page each.
 */
struct saved_slot {
    uint32_t where;
    uint32_t unit; /* of the record, from the image's start; 0: free */
};

/* Behind it: exits, instructions, relocations, map, code, and zeroes up to a whole unit. */
struct saved_block {
    uint32_t zero;
    uint32_t crc;   /* of all behind it */
    uint32_t where; /* place in the guest's file, in instructions */
    uint32_t ctx;
    uint16_t code_size, nrelocs, nmap, dead_tail;
    uint16_t ninsns, nexits, loop, unused;
};

_Static_assert(sizeof(struct saved_header) % SAVED_UNIT == 0 && sizeof(struct saved_slot) % SAVED_UNIT == 0 &&
                   sizeof(struct saved_block) % SAVED_UNIT == 0,
               "records are aligned");

/* CRC-32C; the JIT's floor is SSE4.2. */
__attribute__((target("sse4.2"))) static uint32_t saved_crc(uint32_t crc, const void *p, size_t len)
{
    const uint8_t *b = p;
    uint64_t word, c = crc;

    for (; len >= 8; len -= 8, b += 8) {
        memcpy(&word, b, 8);
        c = __builtin_ia32_crc32di(c, word);
    }
    for (; len; len--)
        c = __builtin_ia32_crc32qi((uint32_t)c, *b++);
    return (uint32_t)c;
}

uint64_t jit_saved_hash(uint64_t h, const void *p, size_t len)
{
    const uint8_t *b = p;

    for (; len; len -= MIN(len, (size_t)8), b += 8) {
        uint64_t word = len;
        memcpy(&word, b, MIN(len, (size_t)8));
        h = (h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    return h * UINT64_C(0xc2b2ae3d27d4eb4f) ^ h >> 32;
}

uintptr_t jit_saved_recover(uintptr_t ip)
{
    return jit_access_recover(ip);
}

uint32_t jit_saved_words(const uint32_t *insn, unsigned n)
{
    return saved_crc(n, insn, n * sizeof(*insn));
}

#define SAVED_PLACE_BITS 10 /* of an instruction's place in its page */
#define SAVED_WHERE_INSNS 8u

/* What stands behind a short block counts, too: that makes no difference but for the places where the page ends. */
uint32_t jit_saved_where(const struct jit *j, const struct jit_block *b)
{
    uint32_t insn[SAVED_WHERE_INSNS], place = b->pc >> 2 & ((1u << SAVED_PLACE_BITS) - 1);
    unsigned n = j->space->read(b->host, insn, MIN(SAVED_WHERE_INSNS, (1u << SAVED_PLACE_BITS) - place));

    return jit_saved_words(insn, n) << SAVED_PLACE_BITS | place;
}

/* Where the slot is in which a probe for `where` begins, or the n'th after it, from the image's start. */
static size_t saved_slot(uint32_t where, uint32_t n, uint32_t bits)
{
    uint32_t slot = (where * 0x9e3779b1u >> (32 - bits)) + n;

    return sizeof(struct saved_header) + (slot & ((1u << bits) - 1)) * sizeof(struct saved_slot);
}

/* The first byte behind the slots. */
static size_t saved_records(uint32_t bits)
{
    return sizeof(struct saved_header) + (sizeof(struct saved_slot) << bits);
}

/* ---- one record ---- */

struct saved_shape {
    size_t exits, insns, relocs, map, code, end; /* offsets from the record's start */
};

/* False for a block that cannot be. */
static bool saved_shape(const struct saved_block *r, struct saved_shape *s)
{
    if (!r->ninsns || r->ninsns > JIT_BLOCK_MAX_INSNS || r->nexits > JIT_BLOCK_MAX_EXITS || r->nmap > JIT_MAP_MAX ||
        (r->nmap && r->nmap < r->ninsns) || r->nrelocs > JIT_BLOCK_MAX_RELOCS || r->code_size > JIT_BLOCK_ROOM / 2 ||
        r->code_size < JIT_ENTRY_NOP || r->dead_tail + JIT_DEAD_TAIL + !!r->nmap > r->code_size ||
        r->loop % JIT_ENTRY_ALIGN || r->loop + 8u > r->code_size || (r->where & 1023) + r->ninsns > 1024)
        return false;
    s->exits = sizeof(*r);
    s->insns = s->exits + r->nexits * sizeof(struct jit_exit);
    s->relocs = s->insns + r->ninsns * sizeof(uint32_t);
    s->map = s->relocs + r->nrelocs * sizeof(struct jit_reloc);
    s->code = s->map + r->nmap;
    s->end = align_up(s->code + r->code_size, SAVED_UNIT);
    return true;
}

/* Copies the record at `unit`, all of it into `to` (of `room` bytes); its size, or zero. */
static size_t saved_read(const uint8_t *image, size_t size, uint32_t unit, uint8_t *to, size_t room,
                         struct saved_shape *s)
{
    uint64_t at = (uint64_t)unit * SAVED_UNIT;
    struct saved_block r;

    if (at > size || size - at < sizeof(r) || jit_access_copy(&r, image + at, sizeof(r)) || !saved_shape(&r, s) ||
        size - at < s->end || s->end > room || jit_access_copy(to, image + at, s->end))
        return 0;
    /* What was checked is what is used. */
    memcpy(to, &r, sizeof(r));
    if (saved_crc(0, &to[offsetof(struct saved_block, where)], s->end - offsetof(struct saved_block, where)) != r.crc)
        return 0;
    return s->end;
}

#define SAVED_RECORD_MAX                                                                                               \
    (sizeof(struct saved_block) + JIT_BLOCK_MAX_EXITS * sizeof(struct jit_exit) + JIT_BLOCK_MAX_INSNS * 4 +            \
     JIT_BLOCK_MAX_RELOCS * sizeof(struct jit_reloc) + JIT_MAP_MAX + JIT_BLOCK_ROOM / 2 + SAVED_UNIT)

/* ---- the header ---- */

static bool saved_header(const uint8_t *image, size_t size, const uint8_t key[JIT_SAVED_KEY], struct saved_header *h)
{
    return size >= sizeof(*h) && !jit_access_copy(h, image, sizeof(*h)) && h->magic == SAVED_MAGIC &&
           !memcmp(h->key, key, JIT_SAVED_KEY) && h->size == size && h->bits && h->bits <= SAVED_BITS_MAX &&
           (size - sizeof(*h)) / sizeof(struct saved_slot) >= (size_t)1 << h->bits &&
           h->crc == saved_crc(0, h, offsetof(struct saved_header, crc));
}

bool jit_saved_open(const uint8_t *image, size_t size, const uint8_t key[JIT_SAVED_KEY], struct jit_saved_image *out)
{
    struct saved_header h;

    *out = (struct jit_saved_image){0};
    if (!saved_header(image, size, key, &h))
        return false;
    *out = (struct jit_saved_image){.at = image, .size = size, .bits = h.bits, .count = h.count};
    return true;
}

/* ---- from an image into the cache ---- */

/* Do fields and exits lie within the code? */
static bool saved_places(const struct saved_block *r, const struct jit_exit *exit, const struct jit_reloc *reloc)
{
    for (unsigned i = 0; i < r->nexits; i++)
        if (exit[i].patch + 4u > r->code_size || exit[i].patch % 4 || exit[i].stub >= r->code_size)
            return false;
    for (unsigned i = 0; i < r->nrelocs; i++)
        if (reloc[i].offset + (reloc[i].kind == JIT_RELOC_GUEST_PC ? 8u : 4u) > r->code_size ||
            reloc[i].kind > JIT_RELOC_THUNK)
            return false;
    return true;
}

/* Takes a record that was read into `raw`; false where it is not for b. */
static bool saved_take(struct jit *j, struct jit_block *b, const uint8_t *raw, const struct saved_shape *s,
                       const uint32_t *insn, unsigned n)
{
    struct saved_block r;

    memcpy(&r, raw, sizeof(r));
    if (r.ninsns > n || (j->user ? !r.nmap : r.nmap) || memcmp(raw + s->insns, insn, r.ninsns * sizeof(*insn)))
        return false;
    for (unsigned i = 0; j->nmasked && i < r.ninsns; i++)
        if (jit_user_masked(j, b->pc + i * 4))
            return false;
    memcpy(b->exit, raw + s->exits, r.nexits * sizeof(struct jit_exit));
    memcpy(&j->reloc[b->reloc], raw + s->relocs, r.nrelocs * sizeof(struct jit_reloc));
    if (!saved_places(&r, b->exit, &j->reloc[b->reloc]))
        return false;
    if (j->user) {
        memcpy(j->map + b->map, raw + s->map, r.nmap);
        j->nmap += r.nmap;
    } else {
        memcpy(j->map + b->map, insn, r.ninsns * sizeof(*insn));
        j->nmap += r.ninsns * (uint32_t)sizeof(*insn);
    }
    b->ninsns = (uint8_t)r.ninsns;
    b->nexits = (uint8_t)r.nexits;
    b->nrelocs = r.nrelocs;
    b->code_size = r.code_size;
    b->dead_tail = r.dead_tail;
    b->loop = r.loop;
    b->saved = true;
    memcpy(j->rw + b->code, raw + s->code, r.code_size);
    jit_block_move(j, b, b->pc & 0xfff, b->pc, 0, b->code, j->rw + b->code);
    return true;
}

/*
 * A machine needs an image's records once, mostly, and in their order. Pages are mapped some at a time, which costs
 * less than a fault for each, and after a while all but those of the slots are let go.
 */
#define SAVED_PIECES_MAX 16

static void saved_needed(struct jit *j, const struct jit_saved_image *m, uint64_t at)
{
    uint64_t first = align_up(saved_records(m->bits), JIT_SAVED_PIECE);
    unsigned n = (unsigned)(at / JIT_SAVED_PIECE);

    if (j->user || at < first || n >= JIT_IMAGE_PIECES || (j->image_piece[n / 64] >> n % 64 & 1))
        return;
    if (j->image_pieces++ == SAVED_PIECES_MAX) {
        jit_host_unused(m->at + first, m->size - first);
        memset(j->image_piece, 0, sizeof(j->image_piece));
        j->image_pieces = 1;
    }
    j->image_piece[n / 64] |= BIT64(n % 64);
    at = (uint64_t)n * JIT_SAVED_PIECE;
    jit_host_needed(m->at + at, MIN(m->size - at, JIT_SAVED_PIECE));
}

bool jit_saved_restore(struct jit *j, struct jit_block *b)
{
    const struct jit_saved_place *p = &j->saved;
    const struct jit_saved_image *m = &p->image;
    uint32_t insn[JIT_BLOCK_MAX_INSNS];
    uint8_t raw[SAVED_RECORD_MAX];
    struct saved_shape s;
    unsigned n = 0;

    for (unsigned k = 0; m->at && k < SAVED_PROBES_MAX; k++) {
        struct saved_slot slot;
        struct saved_block r;
        uint64_t at;

        if (jit_access_copy(&slot, m->at + saved_slot(p->where, k, m->bits), sizeof(slot)) || !slot.unit)
            return false;
        if (slot.where != p->where)
            continue;
        at = (uint64_t)slot.unit * SAVED_UNIT;
        if (at > m->size || m->size - at < sizeof(r))
            return false;
        saved_needed(j, m, at);
        if (jit_access_copy(&r, m->at + at, sizeof(r)))
            return false;
        if (r.where == p->where && r.ctx == b->ctx && r.ninsns <= JIT_BLOCK_MAX_INSNS) {
            if (r.ninsns > n)
                n = j->space->read(b->host, insn, MIN(r.ninsns, 1024 - (unsigned)(b->pc >> 2 & 1023)));
            if (saved_read(m->at, m->size, slot.unit, raw, sizeof(raw), &s) && saved_take(j, b, raw, &s, insn, n))
                return true;
        }
    }
    return false;
}

void jit_saved_counts(const struct jit *j, uint64_t *made, uint64_t *taken)
{
    *made = j->made;
    *taken = j->taken;
}

/* ---- from the cache into an image ---- */

void jit_saved_begin(struct jit_saved_writer *w, uint8_t *at, size_t room, uint32_t count)
{
    *w = (struct jit_saved_writer){.at = at, .room = room, .bits = 4};
    while (w->bits < SAVED_BITS_MAX && count >> (w->bits - 1))
        w->bits++;
    w->used = saved_records(w->bits);
    if (w->used > room)
        w->full = true;
}

/* Is the record at `unit` for the same instructions? */
static bool saved_same(const struct jit_saved_writer *w, uint32_t unit, const struct saved_block *r,
                       const struct saved_shape *s, const uint8_t *raw)
{
    const uint8_t *at = w->at + (size_t)unit * SAVED_UNIT;
    struct saved_shape os;
    struct saved_block o;

    memcpy(&o, at, sizeof(o));
    return o.ctx == r->ctx && o.ninsns == r->ninsns && saved_shape(&o, &os) &&
           !memcmp(at + os.insns, raw + s->insns, r->ninsns * sizeof(uint32_t));
}

/* The record was made at the writer's end: keeps it where it is new, and found by a probe. */
static void saved_append(struct jit_saved_writer *w, const struct saved_shape *s)
{
    uint8_t *raw = w->at + w->used;
    struct saved_block r;

    memcpy(&r, raw, sizeof(r));
    for (unsigned k = 0; k < SAVED_PROBES_MAX; k++) {
        struct saved_slot *slot = (void *)(w->at + saved_slot(r.where, k, w->bits));

        if (!slot->unit) {
            *slot = (struct saved_slot){.where = r.where, .unit = (uint32_t)(w->used / SAVED_UNIT)};
            w->used += s->end;
            w->count++;
            return;
        }
        if (slot->where == r.where && saved_same(w, slot->unit, &r, s, raw))
            return;
    }
}

void jit_saved_add_image(struct jit_saved_writer *w, const struct jit_saved_image *m)
{
    size_t at = saved_records(m->bits);
    struct saved_shape s;

    for (uint32_t i = 0; i < m->count && !w->full; i++) {
        if (w->room - w->used < SAVED_RECORD_MAX) {
            w->full = true;
            return;
        }
        if (!saved_read(m->at, m->size, (uint32_t)(at / SAVED_UNIT), w->at + w->used, w->room - w->used, &s))
            return;
        at += s.end;
        saved_append(w, &s);
    }
}

/* Bytes of b's map. */
static unsigned saved_map_size(const struct jit *j, const struct jit_block *b)
{
    const uint8_t *m = j->map + b->map;

    if (!j->user)
        return 0;
    for (unsigned i = 0; i < b->ninsns; i++)
        while (*m++ == UINT8_MAX)
            ;
    return (unsigned)(m - (j->map + b->map));
}

/* What b was made from; false where b is not to be saved. */
static bool saved_insns(const struct jit *j, const struct jit_block *b, uint32_t *insn)
{
    if (!j->user) {
        memcpy(insn, j->map + b->map, b->ninsns * sizeof(*insn));
        return true;
    }
    for (unsigned i = 0; i < b->ninsns; i++)
        if (jit_user_masked(j, b->pc + i * 4))
            return false;
    /* The guest may have written its code and not said so yet. */
    return j->space->read(b->host, insn, b->ninsns) == b->ninsns && jit_saved_words(insn, b->ninsns) == b->words;
}

/* The no-ops that a dead block has not any more. */
static void saved_revive(const struct jit_block *b, uint8_t *code)
{
    static const uint8_t nop5[JIT_ENTRY_NOP] = {0x0f, 0x1f, 0x44, 0x00, 0x00};

    memcpy(code, nop5, sizeof(nop5));
    if (b->loop)
        memcpy(code + b->loop, nop5, sizeof(nop5));
}

/* Writes b's record at the writer's end; false where b is not to be saved. */
static bool saved_record(const struct jit *j, const struct jit_block *b, uint32_t where, uint8_t *raw,
                         struct saved_shape *s)
{
    struct saved_block r = {.where = where,
                            .ctx = b->ctx,
                            .code_size = b->code_size,
                            .nrelocs = b->nrelocs,
                            .nmap = (uint16_t)saved_map_size(j, b),
                            .dead_tail = b->dead_tail,
                            .ninsns = b->ninsns,
                            .nexits = b->nexits,
                            .loop = b->loop};
    uint32_t insn[JIT_BLOCK_MAX_INSNS];

    if (!saved_shape(&r, s) || !saved_insns(j, b, insn))
        return false;
    memset(raw, 0, s->end);
    memcpy(raw + s->exits, b->exit, b->nexits * sizeof(struct jit_exit));
    memcpy(raw + s->insns, insn, b->ninsns * sizeof(*insn));
    memcpy(raw + s->relocs, &j->reloc[b->reloc], b->nrelocs * sizeof(struct jit_reloc));
    memcpy(raw + s->map, j->map + b->map, r.nmap);
    jit_block_relocate(j, b, b->pc & 0xfff, 0, raw + s->code);
    saved_revive(b, raw + s->code);
    memcpy(raw, &r, sizeof(r));
    r.crc = saved_crc(0, &raw[offsetof(struct saved_block, where)], s->end - offsetof(struct saved_block, where));
    memcpy(raw, &r, sizeof(r));
    return true;
}

void jit_saved_add_blocks(struct jit_saved_writer *w, struct jit *j, uint64_t lo, uint64_t hi, uint64_t offset)
{
    struct saved_shape s;

    jit_lock(&j->lock);
    for (uint32_t i = 1; i < j->nblocks && !w->full; i++) {
        struct jit_block *b = &j->block[i];

        if (b->dead || b->saved || b->pc < lo || b->pc >= hi || hi - b->pc < b->ninsns * 4u)
            continue;
        if (w->room - w->used < SAVED_RECORD_MAX) {
            w->full = true;
            break;
        }
        b->saved = true; /* tried once */
        if (saved_record(j, b, (uint32_t)((b->pc - lo + offset) >> 2), w->at + w->used, &s))
            saved_append(w, &s);
    }
    jit_unlock(&j->lock);
}

/* In the order in which they were made, which is about that in which the next run wants them. */
void jit_saved_add_run(struct jit_saved_writer *w, struct jit *j)
{
    struct saved_shape s;

    for (uint32_t i = 1; i < j->nblocks && !w->full; i++) {
        const struct jit_block *b = &j->block[i];

        if (w->room - w->used < SAVED_RECORD_MAX) {
            w->full = true;
            break;
        }
        if (saved_record(j, b, b->words, w->at + w->used, &s))
            saved_append(w, &s);
    }
}

size_t jit_saved_end(struct jit_saved_writer *w, const uint8_t key[JIT_SAVED_KEY])
{
    struct saved_header h = {.magic = SAVED_MAGIC, .size = (uint32_t)w->used, .bits = w->bits, .count = w->count};

    memcpy(h.key, key, JIT_SAVED_KEY);
    h.crc = saved_crc(0, &h, offsetof(struct saved_header, crc));
    memcpy(w->at, &h, sizeof(h));
    return w->used;
}
