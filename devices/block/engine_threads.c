/*
 * The thread-pool engine, for hosts that deny io_uring: a few workers make the blocking calls, an eventfd brings
 * finished requests back to the loop thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/block/engine.h"

#define POOL_THREADS 4

struct pool {
    struct block_engine en;
    int efd;
    struct loop_fd *watch;
    pthread_mutex_t lock; /* what follows */
    pthread_cond_t work, over;
    struct engine_list todo, done;
    bool stop;
    unsigned nthreads;
    pthread_t thread[POOL_THREADS];
};

static struct pool *pool_of(struct block_engine *en)
{
    return container_of(en, struct pool, en);
}

static int pool_perform(const struct engine_io *io)
{
    int fd = io->block->fd;
    ssize_t n;

    switch ((enum engine_op)io->op) {
    case ENGINE_READV: n = preadv(fd, io->iov, (int)io->niov, (off_t)io->offset); break;
    case ENGINE_WRITEV: n = pwritev(fd, io->iov, (int)io->niov, (off_t)io->offset); break;
    case ENGINE_FDATASYNC: n = fdatasync(fd); break;
    case ENGINE_FALLOCATE: n = fallocate(fd, io->mode, (off_t)io->offset, (off_t)io->len); break;
    default: return -EINVAL;
    }
    /* One call transfers at most 2 GiB - 4 KiB, so the count fits. */
    return n < 0 ? -errno : (int)n;
}

static void *pool_worker(void *opaque)
{
    struct pool *p = opaque;
    static const uint64_t one = 1;

    engine_thread_init();
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct block_req *r = engine_list_take(&p->todo);
        if (!r) {
            if (p->stop)
                break;
            pthread_cond_wait(&p->work, &p->lock);
            continue;
        }
        pthread_mutex_unlock(&p->lock);
        int result = pool_perform(engine_io(r));
        pthread_mutex_lock(&p->lock);
        engine_io(r)->result = result;
        bool wake = !p->done.first;
        engine_list_add(&p->done, r);
        pthread_cond_signal(&p->over);
        if (wake) {
            pthread_mutex_unlock(&p->lock);
            while (write(p->efd, &one, sizeof(one)) < 0 && errno == EINTR)
                ;
            pthread_mutex_lock(&p->lock);
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Reports what stands in the done list. */
static void pool_reap(struct pool *p)
{
    struct block_req *r;

    pthread_mutex_lock(&p->lock);
    struct engine_list done = p->done;
    p->done.first = NULL;
    pthread_mutex_unlock(&p->lock);
    while ((r = engine_list_take(&done)))
        block_step(r, engine_io(r)->result);
}

static void pool_ready(void *opaque, int fd, unsigned events)
{
    uint64_t count;

    (void)events;
    while (read(fd, &count, sizeof(count)) < 0 && errno == EINTR)
        ;
    pool_reap(opaque);
}

static int pool_add_file(struct block_engine *en, int fd, int *slot)
{
    (void)en;
    *slot = fd;
    return 0;
}

static void pool_remove_file(struct block_engine *en, int slot)
{
    (void)en;
    (void)slot;
}

static void pool_start(struct block_engine *en, struct block_req *r)
{
    struct pool *p = pool_of(en);

    pthread_mutex_lock(&p->lock);
    engine_list_add(&p->todo, r);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

static void pool_flush(struct block_engine *en)
{
    (void)en;
}

static void pool_wait(struct block_engine *en)
{
    struct pool *p = pool_of(en);

    pthread_mutex_lock(&p->lock);
    while (!p->done.first)
        pthread_cond_wait(&p->over, &p->lock);
    pthread_mutex_unlock(&p->lock);
    pool_reap(p);
}

static void pool_destroy(struct block_engine *en)
{
    struct pool *p = pool_of(en);

    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->nthreads; i++)
        pthread_join(p->thread[i], NULL);
    if (p->watch)
        loop_fd_remove(p->watch);
    if (p->efd >= 0)
        close(p->efd);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->over);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static const struct engine_ops pool_ops = {
    .name = "threads",
    .add_file = pool_add_file,
    .remove_file = pool_remove_file,
    .start = pool_start,
    .flush = pool_flush,
    .wait = pool_wait,
    .destroy = pool_destroy,
};

int engine_threads_create(struct block_engine **out, struct loop *l, struct err *e)
{
    struct pool *p = calloc(1, sizeof(*p));
    sigset_t all, old;
    int rc;

    if (!p)
        return err_set(e, ENOMEM, "no memory for the block engine");
    p->en = (struct block_engine){.ops = &pool_ops, .loop = l};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->over, NULL);
    p->efd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (p->efd < 0) {
        rc = -errno;
        goto fail;
    }
    rc = loop_fd_add(l, &p->watch, p->efd, LOOP_IN, pool_ready, p);
    if (rc)
        goto fail;
    /* Signals are for the threads that wait for them. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    for (; p->nthreads < POOL_THREADS && rc == 0; p->nthreads += rc == 0)
        rc = -pthread_create(&p->thread[p->nthreads], NULL, pool_worker, p);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc)
        goto fail;
    *out = &p->en;
    return 0;

fail:
    pool_destroy(&p->en);
    return err_set(e, -rc, "the block engine's threads do not start: %s", strerror(-rc));
}
