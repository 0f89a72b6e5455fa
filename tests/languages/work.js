// Functions that become hot and are deoptimised, code that is made anew (eval), the optimiser's pages in several threads
// (workers), WebAssembly, garbage collection, HTTP over loopback, crypto, streams, processes, atomics.
'use strict';
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const crypto = require('crypto');

const digest = x => crypto.createHash('sha256').update(x).digest('hex').slice(0, 16);

function hot(n) {
    let a = 0, b = 1;
    for (let i = 0; i < n; i++) {
        const t = (a * 31 + b) | 0;
        a = b;
        b = t ^ (i << 3);
    }
    return a;
}

function shape(i) {
    switch (i % 4) {
    case 0: return { x: i, y: 1 };
    case 1: return { y: 2, x: i };
    case 2: return { x: i + 0.5, y: 'three' };
    default: return { z: 0, x: -i, y: null };
    }
}

function deoptimise(n) {
    const add = (p, q) => p.x + q.x; // optimised for one shape, then met by others, with doubles
    let s = 0;
    for (let i = 0; i < n; i++)
        s += add({ x: i, y: 1 }, { x: 1, y: i });
    for (let i = 0; i < n; i++)
        s += add(shape(i), shape(i + 1));
    return s;
}

// Code that lives for moments: pages of code are written while others run.
function generated(n, seed) {
    let s = 0;
    for (let i = 0; i < n; i++) {
        const f = new Function('k', `let t = ${seed + i}; for (let j = 0; j < 400; j++) t = (t * ${i % 7 + 3} + k + j) | 0; return t;`);
        for (let j = 0; j < 6; j++)
            s = (s + f(j)) | 0;
    }
    return s;
}

function garbage(n) {
    const keep = [];
    for (let i = 0; i < n; i++) {
        const o = { name: 'n' + i, list: new Array(20).fill(i), map: new Map([[i, { i }]]) };
        if (i % 50 === 0)
            keep.push(o);
    }
    return keep.reduce((s, o) => s + o.list.length + o.map.size + o.name.length, 0);
}

function expressions() {
    const text = 'the quick brown fox 123 jumps over 4567 lazy dogs; '.repeat(500);
    const words = text.match(/\b[a-z]{4,}\b/g).length;
    const digits = text.replace(/(\d)(\d+)/g, '$2<$1>');
    return words + ' ' + digest(digits) + ' ' + 2n ** 521n % 1000000007n + ' ' + JSON.stringify(JSON.parse(JSON.stringify({ text }))).length;
}

// (func (export "f") (param i32) (result i32)): sums i*i for i below the argument
const wasm = new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 6, 1, 0x60, 1, 0x7f, 1, 0x7f, 3, 2, 1, 0, 5, 3, 1, 0, 1, 7, 5, 1, 1,
    0x66, 0, 0, 10, 0x28, 1, 0x26, 1, 2, 0x7f, 3, 0x40, 0x20, 1, 0x20, 2, 0x20, 2, 0x6c, 0x6a, 0x21, 1, 0x20, 2, 0x41, 1, 0x6a, 0x22,
    2, 0x20, 0, 0x48, 0x0d, 0, 0x0b, 0x41, 8, 0x20, 1, 0x36, 2, 0, 0x20, 1, 0x0b]);

function webassembly() {
    const f = new WebAssembly.Instance(new WebAssembly.Module(wasm)).exports.f;
    let s = 0;
    for (let i = 1; i < 200; i++)
        s = (s + f(i * 50)) | 0;
    return s;
}

if (!isMainThread) {
    const shared = new Int32Array(workerData.shared);
    for (let i = 0; i < 2000; i++)
        Atomics.add(shared, 0, 1);
    Atomics.notify(shared, 0);
    parentPort.postMessage([hot(300000), deoptimise(20000), generated(80, workerData.id), webassembly(), garbage(10000)].join(':'));
    return;
}

async function workers() {
    const shared = new SharedArrayBuffer(8);
    const all = [];
    for (let id = 0; id < 4; id++)
        all.push(new Promise((done, fail) => {
            const w = new Worker(__filename, { workerData: { id, shared } });
            w.on('message', done);
            w.on('error', fail);
        }));
    const short = new Worker('for (;;) ;', { eval: true }); // terminated in the middle of its loop
    const ended = new Promise(done => short.on('exit', done));
    setTimeout(() => short.terminate(), 100);
    const answers = await Promise.all(all);
    await ended;
    return answers.join(' ') + ' ' + new Int32Array(shared)[0];
}

async function web() {
    const http = require('http');
    const server = http.createServer((q, r) => {
        const h = crypto.createHash('sha256');
        q.on('data', d => h.update(d));
        q.on('end', () => r.end(h.digest('hex')));
    });
    await new Promise(done => server.listen(0, '127.0.0.1', done));
    const ask = i => new Promise((done, fail) => {
        const q = http.request({ port: server.address().port, host: '127.0.0.1', method: 'POST' }, r => {
            let s = '';
            r.on('data', d => s += d);
            r.on('end', () => done(s));
        });
        q.on('error', fail);
        q.end(Buffer.alloc(i * 777, i));
    });
    const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(i)));
    server.close();
    return digest(answers.join());
}

async function library() {
    const zlib = require('zlib'), { promisify } = require('util');
    const data = Buffer.alloc(300000, 'pipit sings ');
    const back = await promisify(zlib.gunzip)(await promisify(zlib.gzip)(data));
    const key = await promisify(crypto.scrypt)('word', 'salt', 32);
    const c = crypto.createCipheriv('aes-256-gcm', key, Buffer.alloc(12));
    const sealed = Buffer.concat([c.update(data), c.final()]);
    const d = crypto.createDecipheriv('aes-256-gcm', key, Buffer.alloc(12)).setAuthTag(c.getAuthTag());
    const opened = Buffer.concat([d.update(sealed), d.final()]);
    const { privateKey, publicKey } = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const signature = crypto.sign('sha256', data, privateKey);
    return [back.equals(data), digest(sealed), opened.equals(data), crypto.verify('sha256', data, publicKey, signature),
        digest(crypto.pbkdf2Sync('word', 'salt', 2000, 32, 'sha512'))].join(' ');
}

async function processes() {
    const { execFile, spawn } = require('child_process');
    const run = i => new Promise(done => execFile('/bin/sh', ['-c', `echo out${i}; exit ${i}`], (e, out) => done(out.trim() + (e ? e.code : 0))));
    const missing = new Promise(done => spawn('/no/such/program').on('error', e => done(e.code)));
    return (await Promise.all(Array.from({ length: 8 }, (_, i) => run(i)))).join() + ' ' + await missing;
}

function recursion() {
    let depth = 0;
    const down = () => { depth++; down(); };
    try {
        down();
    } catch (e) {
        return e.constructor.name + (depth > 5000);
    }
}

(async () => {
    const parts = { hot: () => hot(3000000), deoptimise: () => deoptimise(60000), generated: () => generated(300, 1),
        garbage: () => garbage(60000), expressions, webassembly, recursion, workers, web, library, processes };
    for (const [name, part] of Object.entries(parts))
        console.log(name, await part());
})();
