/*
 * Running a machine: one thread a vCPU, one for the loop, and the main thread, which waits for what happens and
 * decides. Locks: run.lock, then the interrupt controller's or a vCPU's own; none of those is held when its owner calls
 * back here.
 *
 * A vCPU's thread runs its vCPU while the machine is to run; otherwise it is parked on the condition. A vCPU that the
 * guest has turned off waits in the accelerator. `attention` says that a thread must look at the shared state when
 * vcpu_run returns: interrupts kick vCPUs all the time, and those returns take no lock.
 *
 * Whatever ends or resets the machine (guest, signal, user, error) is an event bit; raising one stops the vCPUs, and
 * the main thread handles it. A reset, a pause and its end are done on the loop thread, where devices may be touched,
 * with all vCPUs parked. A guest that asks for a reset while a pause is being made is reset first.
 *
 * Ending is bounded: a thread that does not end in time (it may be stuck in a write to a stalled pipe) is left behind
 * with the process, after the terminal has been restored.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/base/uptime.h"
#include "vmm/base/util.h"
#include "vmm/machine/disks.h"
#include "vmm/machine/fatal.h"
#include "vmm/machine/machine.h"
#include "vmm/machine/run_life.h"
#include "vmm/service/life/detach.h"
#include "vmm/service/sandbox.h"

#define RUN_END_SECONDS 5

enum run_event {
    RUN_EV_ERROR = 0x1,
    RUN_EV_SIGNAL = 0x2,
    RUN_EV_QUIT = 0x4,
    RUN_EV_POWEROFF = 0x8,
    RUN_EV_RESET = 0x10,
    RUN_EV_EXIT = 0x20, /* the guest's own status */
};

enum run_want { RUN_WANT_RUN, RUN_WANT_PARK, RUN_WANT_END };

struct run;

struct run_vcpu {
    struct run *run;
    unsigned index;
    pthread_t thread;
    bool started;
    bool parked; /* under run.lock */
    atomic_bool attention;
};

struct run {
    struct machine m;
    struct run_life life;
    struct run_vcpu *vcpu; /* one a vCPU; left alone by threads that outlive main, as struct run is */
    pthread_t loop_thread;
    bool loop_started;
    int signal_fd;
    struct loop_fd *signal_watch;

    pthread_mutex_t lock;
    pthread_cond_t cond;
    enum run_want want;
    unsigned events; /* enum run_event */
    bool pause;      /* the user wants it */
    bool paused;     /* it is so; the main thread's */
    int signal;      /* the one that came */
    int guest_status;
    bool loop_done; /* what the main thread had the loop do */
};

/* ---- asking for things, on any thread ---- */

/* Makes every vCPU thread look at the state. The machine may not be complete yet: events may come early. */
static void run_call_attention(struct run *r)
{
    for (unsigned i = 0; i < r->m.cfg->cpus; i++) {
        atomic_store(&r->vcpu[i].attention, true);
        if (r->vcpu[i].started)
            r->m.accel->ops->vcpu_kick(r->m.vcpu[i]);
    }
}

static void run_raise(struct run *r, enum run_event ev)
{
    pthread_mutex_lock(&r->lock);
    r->events |= ev;
    if (r->want == RUN_WANT_RUN)
        r->want = RUN_WANT_PARK;
    run_call_attention(r);
    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->lock);
}

static void run_on_exit(void *opaque, unsigned status)
{
    struct run *r = opaque;

    pthread_mutex_lock(&r->lock);
    /* The first one counts; the guest may go on for a while. */
    if (!(r->events & RUN_EV_EXIT))
        r->guest_status = (int)status;
    pthread_mutex_unlock(&r->lock);
    run_raise(r, RUN_EV_EXIT);
}

static void run_on_quit(void *opaque)
{
    run_raise(opaque, RUN_EV_QUIT);
}

/* Where it is paused already it stays so. */
static void run_set_pause(void *opaque, bool pause)
{
    struct run *r = opaque;

    pthread_mutex_lock(&r->lock);
    r->pause = pause;
    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->lock);
}

static void run_on_disk_error(void *opaque)
{
    run_set_pause(opaque, true);
}

static void run_on_button(void *opaque)
{
    irq_raise(&((struct run *)opaque)->m.power_button);
}

static void run_on_poweroff(void *opaque)
{
    run_raise(opaque, RUN_EV_POWEROFF);
}

static void run_on_reset(void *opaque)
{
    run_raise(opaque, RUN_EV_RESET);
}

static void run_say(struct run *r, const char *text)
{
    (void)r;
    /* The terminal is raw: the line ends carry their own carriage returns. */
    if (write(STDERR_FILENO, text, strlen(text)) < 0)
        return;
}

static void run_on_escape(void *opaque, enum chardev_escape what)
{
    struct run *r = opaque;

    switch (what) {
    case CHARDEV_ESC_QUIT: run_raise(r, RUN_EV_QUIT); break;
    case CHARDEV_ESC_HELP:
        run_say(r, "\r\nCtrl-A x  end the machine\r\nCtrl-A p  pause it, and go on\r\nCtrl-A b  send a break\r\n"
                   "Ctrl-A h  this help\r\nCtrl-A Ctrl-A  send Ctrl-A\r\n");
        break;
    case CHARDEV_ESC_PAUSE:
        pthread_mutex_lock(&r->lock);
        r->pause = !r->pause;
        pthread_cond_broadcast(&r->cond);
        pthread_mutex_unlock(&r->lock);
        break;
    case CHARDEV_ESC_BREAK: break; /* the front end has it */
    case CHARDEV_ESC_MONITOR: run_say(r, "\r\npipit: this machine has no monitor\r\n"); break;
    }
}

/* ---- the threads ---- */

/* What a thread does first. */
static bool run_enter_thread(struct run *r, enum sandbox_role role)
{
    struct err e = {0};

    fatal_enter_thread();
    if (sandbox_enter(role, &e) == 0)
        return true;
    log_error("sandbox", "%s", e.msg);
    run_raise(r, RUN_EV_ERROR);
    return false;
}

/* Waits until vCPUs are to run; false when the machine ends. */
static bool run_vcpu_may_run(struct run_vcpu *v)
{
    struct run *r = v->run;
    bool go;

    pthread_mutex_lock(&r->lock);
    for (;;) {
        atomic_store(&v->attention, false);
        if (r->want != RUN_WANT_PARK)
            break;
        /* Once: what every wake-up would tell, the other threads would wake up for. */
        if (!v->parked)
            pthread_cond_broadcast(&r->cond);
        v->parked = true;
        pthread_cond_wait(&r->cond, &r->lock);
    }
    go = r->want != RUN_WANT_END;
    v->parked = !go;
    pthread_mutex_unlock(&r->lock);
    return go;
}

static void *run_vcpu_thread(void *opaque)
{
    struct run_vcpu *v = opaque;
    struct run *r = v->run;
    const struct accel_ops *ops = r->m.accel->ops;
    struct vcpu *vcpu = r->m.vcpu[v->index];
    char name[16];

    snprintf(name, sizeof(name), "vcpu%u", v->index);
    pthread_setname_np(pthread_self(), name);
    if (!run_enter_thread(r, SANDBOX_VCPU))
        return NULL;
    while (run_vcpu_may_run(v)) {
        uptime_mark_vcpu();
        do {
            switch (ops->vcpu_run(vcpu)) {
            case VCPU_EXIT_KICK: break;
            case VCPU_EXIT_POWEROFF: run_raise(r, RUN_EV_POWEROFF); break;
            case VCPU_EXIT_RESET: run_raise(r, RUN_EV_RESET); break;
            case VCPU_EXIT_DEBUG:
            case VCPU_EXIT_ERROR: run_raise(r, RUN_EV_ERROR); break;
            }
        } while (!atomic_load_explicit(&v->attention, memory_order_acquire));
    }
    return NULL;
}

static void *run_loop_thread(void *opaque)
{
    struct run *r = opaque;

    pthread_setname_np(pthread_self(), "loop");
    if (run_enter_thread(r, SANDBOX_LOOP))
        loop_run(r->m.loop);
    return NULL;
}

static void run_on_signal(void *opaque, int fd, unsigned events)
{
    struct run *r = opaque;
    struct signalfd_siginfo si;

    (void)events;
    if (read(fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
        return;
    pthread_mutex_lock(&r->lock);
    r->signal = (int)si.ssi_signo;
    pthread_mutex_unlock(&r->lock);
    run_raise(r, RUN_EV_SIGNAL);
}

static int run_watch_signals(struct run *r, struct err *e)
{
    sigset_t set;
    int ret;

    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    r->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (r->signal_fd < 0)
        return err_set(e, errno, "signalfd: %s", strerror(errno));
    ret = loop_fd_add(r->m.loop, &r->signal_watch, r->signal_fd, LOOP_IN, run_on_signal, r);
    return ret < 0 ? err_set(e, -ret, "the event loop takes no signals: %s", strerror(-ret)) : 0;
}

static int run_start_loop(struct run *r)
{
    const struct affinity *pin = &r->m.cfg->pin_loop;
    pthread_attr_t attr;
    int ret;

    pthread_attr_init(&attr);
    ret = pin->n ? affinity_pin_all(pin, &attr) : 0;
    if (!ret)
        ret = pthread_create(&r->loop_thread, &attr, run_loop_thread, r);
    pthread_attr_destroy(&attr);
    r->loop_started = ret == 0;
    return ret;
}

static int run_start_vcpu(struct run *r, struct run_vcpu *v)
{
    const struct affinity *pin = &r->m.cfg->pin;
    pthread_attr_t attr;
    int ret;

    pthread_attr_init(&attr);
    ret = pin->n ? affinity_pin(pin, v->index, &attr) : 0;
    pthread_mutex_lock(&r->lock);
    if (!ret)
        ret = pthread_create(&v->thread, &attr, run_vcpu_thread, v);
    v->started = ret == 0;
    pthread_mutex_unlock(&r->lock);
    pthread_attr_destroy(&attr);
    return ret;
}

/* Threads that were started stay started on failure; run_end ends them. */
static int run_start(struct run *r, struct err *e)
{
    int ret = run_start_loop(r);

    if (ret)
        return err_set(e, ret, "the loop's thread cannot be started: %s", strerror(ret));
    for (unsigned i = 0; i < r->m.cfg->cpus; i++) {
        ret = run_start_vcpu(r, &r->vcpu[i]);
        if (ret)
            return err_set(e, ret, "the thread of vCPU %u cannot be started: %s", i, strerror(ret));
    }
    return 0;
}

/* ---- the main thread ---- */

static void run_loop_did(struct run *r)
{
    pthread_mutex_lock(&r->lock);
    r->loop_done = true;
    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->lock);
}

static void run_reset_on_loop(void *opaque)
{
    struct run *r = opaque;
    struct err e = {0};

    if (machine_reset(&r->m, &e) < 0) {
        log_error("reset", "%s", e.msg);
        run_raise(r, RUN_EV_ERROR);
    }
    run_loop_did(r);
}

static void run_pause_on_loop(void *opaque)
{
    struct run *r = opaque;

    machine_pause(&r->m);
    run_loop_did(r);
}

static void run_resume_on_loop(void *opaque)
{
    struct run *r = opaque;

    machine_resume(&r->m);
    run_loop_did(r);
}

/* Has the loop thread call fn, and waits until it has. With the lock held. */
static void run_on_loop(struct run *r, loop_fn fn)
{
    r->loop_done = false;
    loop_post(r->m.loop, fn, r);
    while (!r->loop_done)
        pthread_cond_wait(&r->cond, &r->lock);
}

static bool run_all_parked(const struct run *r)
{
    for (unsigned i = 0; i < r->m.cfg->cpus; i++)
        if (!r->vcpu[i].parked)
            return false;
    return true;
}

/* What follows is called with the lock held. */

static void run_go_on(struct run *r)
{
    if (!r->events)
        r->want = RUN_WANT_RUN;
    pthread_cond_broadcast(&r->cond);
}

/* want is PARK. Gives up where something ends the machine meanwhile. */
static void run_reset(struct run *r)
{
    while (!run_all_parked(r) && r->events == RUN_EV_RESET)
        pthread_cond_wait(&r->cond, &r->lock);
    if (r->events != RUN_EV_RESET)
        return;
    log_debug(NULL, "reset");
    run_on_loop(r, run_reset_on_loop);
    r->events &= ~(unsigned)RUN_EV_RESET;
    run_go_on(r);
}

/* Gives up where an event comes first, which the caller then handles. */
static void run_pause(struct run *r)
{
    r->want = RUN_WANT_PARK;
    run_call_attention(r);
    while (!run_all_parked(r) && !r->events)
        pthread_cond_wait(&r->cond, &r->lock);
    if (r->events)
        return;
    run_on_loop(r, run_pause_on_loop);
    r->paused = true;
    run_say(r, "\r\npipit: paused; Ctrl-A p goes on\r\n");
}

static void run_resume(struct run *r)
{
    run_say(r, "\r\npipit: going on\r\n");
    run_on_loop(r, run_resume_on_loop);
    r->paused = false;
    run_go_on(r);
}

/* Serves resets and pauses until something ends the machine; returns the exit status. */
static int run_wait(struct run *r)
{
    const struct vm_config *c = r->m.cfg;
    int status;

    pthread_mutex_lock(&r->lock);
    for (;;) {
        if (r->events == RUN_EV_RESET && !c->no_reboot)
            run_reset(r);
        else if (r->events)
            break;
        else if (r->pause && !r->paused)
            run_pause(r);
        else if (r->paused && !r->pause)
            run_resume(r);
        else
            pthread_cond_wait(&r->cond, &r->lock);
    }
    if (r->events & RUN_EV_ERROR)
        status = MACHINE_EXIT_FAILURE;
    else if (r->events & RUN_EV_EXIT)
        status = r->guest_status;
    else if (r->events & RUN_EV_SIGNAL)
        status = c->status_signals ? 128 + r->signal : MACHINE_EXIT_OK;
    else if (r->events & (RUN_EV_QUIT | RUN_EV_POWEROFF))
        status = MACHINE_EXIT_OK;
    else
        status = c->status_reset;
    pthread_mutex_unlock(&r->lock);
    return status;
}

static bool run_join(pthread_t t, const struct timespec *deadline)
{
    return pthread_timedjoin_np(t, NULL, deadline) == 0;
}

/* Ends all threads; false where one did not end in time. */
static bool run_end(struct run *r)
{
    struct timespec deadline;
    bool all = true;

    pthread_mutex_lock(&r->lock);
    r->want = RUN_WANT_END;
    run_call_attention(r);
    pthread_cond_broadcast(&r->cond);
    pthread_mutex_unlock(&r->lock);

    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += RUN_END_SECONDS;
    for (unsigned i = 0; i < r->m.cfg->cpus; i++)
        if (r->vcpu[i].started)
            all &= run_join(r->vcpu[i].thread, &deadline);
    if (r->loop_started) {
        loop_stop(r->m.loop);
        all &= run_join(r->loop_thread, &deadline);
    }
    return all;
}

static void run_report(struct run *r)
{
    double ms = 1e6, s = 1e9;

    if (uptime_since_vcpu())
        log_info("stats", "%.3f ms from exec to the first vCPU's start, %.3f s from there to the end",
                 (double)(uptime_since_exec() - uptime_since_vcpu()) / ms, (double)uptime_since_vcpu() / s);
    log_info("stats", "%.3f s of CPU time, the guest's included", (double)uptime_cpu() / s);
    r->m.accel->ops->report(r->m.accel);
}

static int run_write_pidfile(const char *path, struct err *e)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    int r = 0;

    if (fd < 0)
        return err_set(e, errno, "pid file %s cannot be written: %s", path, strerror(errno));
    if (dprintf(fd, "%d\n", getpid()) < 0)
        r = err_set(e, errno, "pid file %s cannot be written: %s", path, strerror(errno));
    close(fd);
    return r;
}

/* QEMU's command line promises 1 for whatever fails. */
static int run_fail(const struct vm_config *c, const struct err *e)
{
    log_error(NULL, "%s", e->msg);
    detach_say(e->msg);
    return e->status && c->status_causes ? e->status : MACHINE_EXIT_FAILURE;
}

static int run_open_life(struct run *r, struct err *e)
{
    const struct control_ops ops = {
        .quit = run_on_quit,
        .pause = run_set_pause,
        .button = r->m.power_button.set ? run_on_button : NULL,
        .opaque = r,
    };

    return run_life_open(&r->life, &r->m, &ops, e);
}

int machine_main(const struct vm_config *cfg)
{
    static struct run run; /* left alone by threads that outlive main */
    struct run *r = &run;
    const struct machine_events ev = {
        .on_escape = run_on_escape,
        .on_exit = run_on_exit,
        .on_disk_error = run_on_disk_error,
        .on_poweroff = run_on_poweroff,
        .on_reset = run_on_reset,
        .opaque = r,
    };
    struct err e = {0};
    int status;

    if (cfg->boot_note)
        log_info(NULL, "%s", cfg->boot_note);
    if (cfg->boot_warning)
        log_warn(NULL, "%s: %s", cfg->disk[0].path, cfg->boot_warning);
    if (cfg->dump_dtb)
        return machine_dump_dtb(cfg, &e) < 0 ? run_fail(cfg, &e) : MACHINE_EXIT_OK;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->cond, NULL);
    r->signal_fd = -1;
    r->vcpu = calloc(cfg->cpus, sizeof(*r->vcpu));
    if (!r->vcpu) {
        err_set(&e, ENOMEM, "out of memory");
        return run_fail(cfg, &e);
    }
    for (unsigned i = 0; i < cfg->cpus; i++) {
        r->vcpu[i].run = r;
        r->vcpu[i].index = i;
    }
    if (!cfg->sandbox)
        sandbox_disable();
    sandbox_prepare();
    fatal_handle_signals();
    fatal_enter_thread();
    if (run_life_begin(&r->life, cfg, &e) < 0) {
        free(r->vcpu);
        return run_fail(cfg, &e);
    }
    if (machine_create(&r->m, cfg, &ev, &e) < 0) {
        status = run_fail(cfg, &e);
        disks_forget(cfg);
        goto end;
    }
    if (run_watch_signals(r, &e) < 0 || run_open_life(r, &e) < 0 ||
        (cfg->pidfile && run_write_pidfile(cfg->pidfile, &e) < 0)) {
        status = run_fail(cfg, &e);
        disks_forget(cfg);
        goto destroy;
    }

    if (cfg->accel_note)
        log_info(NULL, "%s", cfg->accel_note);
    if (run_start(r, &e) < 0)
        status = run_fail(cfg, &e);
    else if (run_life_running(cfg, &e) < 0 || sandbox_enter(SANDBOX_MAIN, &e) < 0)
        status = run_fail(cfg, &e);
    else
        status = run_wait(r);
    if (cfg->pidfile)
        unlink(cfg->pidfile);
    if (!run_end(r)) {
        machine_close_chardevs(&r->m);
        run_life_end(&r->life);
        log_error(NULL, "a thread did not end within %d seconds", RUN_END_SECONDS);
        _exit(status ? status : MACHINE_EXIT_FAILURE);
    }
    if (cfg->stats)
        run_report(r);

destroy:
    if (r->signal_watch)
        loop_fd_remove(r->signal_watch);
    if (r->signal_fd >= 0)
        close(r->signal_fd);
    run_life_close(&r->life);
    machine_destroy(&r->m);
end:
    run_life_end(&r->life);
    free(r->vcpu);
    return status;
}
