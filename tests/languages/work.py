"""Threads, processes of both kinds, asyncio, subprocesses, signals, garbage, closures called from C (libffi writes code)."""
import array
import asyncio
import collections
import concurrent.futures
import gc
import hashlib
import json
import multiprocessing
import os
import pickle
import queue
import re
import signal
import socket
import struct
import subprocess
import threading
import zlib


def digest(b):
    return hashlib.sha256(b if isinstance(b, bytes) else str(b).encode()).hexdigest()[:16]


def square(x):
    return x * x % 9973


def initial(x):
    return x, os.getpid() > 0


def threads():
    q, out = queue.Queue(), queue.Queue()

    def work():
        while (v := q.get()) is not None:
            out.put(square(v))

    ts = [threading.Thread(target=work) for _ in range(30)]
    for t in ts:
        t.start()
    for i in list(range(2000)) + [None] * len(ts):
        q.put(i)
    for t in ts:
        t.join()
    lock, n, b = threading.Lock(), [0], threading.Barrier(10)

    def count():
        b.wait()
        for _ in range(200):
            with lock:
                n[0] += 1

    ts = [threading.Thread(target=count) for _ in range(10)]
    for t in ts:
        t.start()
    for t in ts:
        t.join()
    return sum(out.queue), n[0]


def processes():
    with multiprocessing.get_context('fork').Pool(4) as p:
        a = sum(p.map(square, range(500), chunksize=20))
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('spawn')) as p:
        c = list(p.map(initial, range(4)))
    shared = multiprocessing.get_context('fork').Value('i', 0)

    def add():
        for _ in range(100):
            with shared.get_lock():
                shared.value += 1

    ps = [multiprocessing.get_context('fork').Process(target=add) for _ in range(6)]
    for p in ps:
        p.start()
    for p in ps:
        p.join()
    return a, c, shared.value


def forks_and_threads():
    """Forks while other threads run."""
    stop = threading.Event()

    def busy():
        while not stop.is_set():
            hashlib.sha256(bytes(1000)).digest()

    ts = [threading.Thread(target=busy) for _ in range(4)]
    for t in ts:
        t.start()
    n = 0
    for i in range(20):
        pid = os.fork()
        if not pid:
            os._exit(len(digest(bytes(i))) + i)
        n += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    stop.set()
    for t in ts:
        t.join()
    return n


async def talk():
    async def serve(r, w):
        w.write(digest(await r.read()).encode())
        w.close()

    server = await asyncio.start_server(serve, '127.0.0.1', 0)
    port = server.sockets[0].getsockname()[1]

    async def ask(i):
        r, w = await asyncio.open_connection('127.0.0.1', port)
        w.write(b'x' * i * 1000)
        w.write_eof()
        s = await r.read()
        w.close()
        return s

    answers = await asyncio.gather(*[ask(i) for i in range(50)])
    p = await asyncio.create_subprocess_exec('/bin/sh', '-c', 'read x; echo got $x; exit 3', stdin=-1, stdout=-1)
    out, _ = await p.communicate(b'line\n')
    server.close()
    loop = asyncio.get_running_loop()
    sums = await asyncio.gather(*[loop.run_in_executor(None, square, i) for i in range(100)])
    return digest(b''.join(answers)), out, p.returncode, sum(sums)


def conversation():
    return asyncio.run(talk())


def subprocesses():
    out = []
    for i in range(10):
        p = subprocess.run(['/bin/sh', '-c', f'read x; echo ${{x}}{i}; exit {i}'], input='in\n', capture_output=True, text=True)
        out.append((p.stdout.strip(), p.returncode))
    try:
        subprocess.run(['/no/such/program'])
    except FileNotFoundError as e:
        out.append(e.errno)
    try:
        subprocess.run(['/bin/sh', '-c', 'while :; do :; done'], timeout=0.2)
    except subprocess.TimeoutExpired:
        out.append('timeout')
    return digest(out), out[-2:]


def signals():
    got = collections.Counter()
    for s in (signal.SIGALRM, signal.SIGUSR1, signal.SIGRTMIN + 3):
        signal.signal(s, lambda n, f: got.update([n]))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    while got[signal.SIGALRM] < 30:
        sum(range(1000))
    signal.setitimer(signal.ITIMER_REAL, 0)
    for _ in range(50):
        os.kill(os.getpid(), signal.SIGUSR1)
        signal.pthread_kill(threading.get_ident(), signal.SIGRTMIN + 3)
    return got[signal.SIGUSR1], got[signal.SIGRTMIN + 3]


def closures():
    import ctypes
    libc = ctypes.CDLL(None)
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    total = 0
    for k in range(1, 40):
        a = (ctypes.c_int * 100)(*[i * 7919 * k % 1009 for i in range(100)])
        libc.qsort(a, 100, 4, compare(lambda x, y: x[0] - y[0]))
        total += sum(i * v for i, v in enumerate(a))
    libc.snprintf.argtypes = None
    b = ctypes.create_string_buffer(100)
    libc.snprintf(b, 100, b'%d %s %.3f', 42, b'text', ctypes.c_double(2.5))
    return total, b.value


def library():
    data = {'list': list(range(2000)), 'float': 1 / 3, 'nested': [[None, True], {'a': 'ü'}], 'big': 3 ** 500}
    words = collections.Counter(re.findall(r'[a-z]{4,}', 'the quick brown fox 123 jumps ' * 300))
    z = zlib.decompress(zlib.compress(b'pipit sings ' * 20000))
    gc.collect()
    return pickle.loads(pickle.dumps(data)) == data, json.loads(json.dumps(data)) == data, digest(z), digest(sorted(words.items())), \
        struct.pack('>dIq', 1.5, 7, -1).hex(), array.array('d', [1, 2]).tobytes().hex()


def recursion():
    depth = 0

    def down():
        nonlocal depth
        depth += 1
        down()

    try:
        down()
    except RecursionError:
        return depth > 900


if __name__ == '__main__':
    for part in threads, processes, forks_and_threads, conversation, subprocesses, signals, closures, library, recursion:
        print(part.__name__, part(), flush=True)
