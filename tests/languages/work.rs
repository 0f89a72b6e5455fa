// Threads, channels, locks, atomics, panics that unwind, processes, sockets, collections, floating point.
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{mpsc, Arc, Barrier, Condvar, Mutex, RwLock};
use std::thread;

fn mix(mut h: u64, bytes: &[u8]) -> u64 {
    for &b in bytes {
        h = (h ^ b as u64).wrapping_mul(0x100000001b3).rotate_left(5);
    }
    h
}

fn channels() -> String {
    let (out, sums) = mpsc::channel();
    let mut senders = Vec::new();
    for w in 0..50u64 {
        let (tx, rx) = mpsc::sync_channel::<u64>(4);
        let out = out.clone();
        thread::spawn(move || out.send(rx.iter().map(|v| v * v % 9973 + w).sum::<u64>()).unwrap());
        senders.push(tx);
    }
    drop(out);
    for i in 0..20000 {
        senders[i as usize % 50].send(i).unwrap();
    }
    drop(senders);
    sums.iter().sum::<u64>().to_string()
}

fn locks() -> String {
    let map = Arc::new(RwLock::new(HashMap::new()));
    let turn = Arc::new((Mutex::new(0u32), Condvar::new()));
    let (barrier, count) = (Arc::new(Barrier::new(8)), Arc::new(AtomicU64::new(0)));
    let all: Vec<_> = (0..8u32)
        .map(|id| {
            let (map, turn, barrier, count) = (map.clone(), turn.clone(), barrier.clone(), count.clone());
            thread::spawn(move || {
                barrier.wait();
                for i in 0..500u32 {
                    map.write().unwrap().insert(id * 1000 + i, format!("{}", i));
                    count.fetch_add(map.read().unwrap().len().min(1) as u64, Ordering::Relaxed);
                }
                for round in 0..20 {
                    let (lock, wake) = &*turn;
                    let mut t = lock.lock().unwrap();
                    while *t != round * 8 + id {
                        t = wake.wait(t).unwrap();
                    }
                    *t += 1;
                    wake.notify_all();
                }
            })
        })
        .collect();
    all.into_iter().for_each(|t| t.join().unwrap());
    let sorted: BTreeMap<_, _> = map.read().unwrap().iter().map(|(k, v)| (*k, v.clone())).collect();
    let h = sorted.iter().fold(7, |h, (k, v)| mix(mix(h, &k.to_le_bytes()), v.as_bytes()));
    format!("{} {} {:x}", count.load(Ordering::SeqCst), turn.0.lock().unwrap(), h)
}

fn order() -> String {
    // Store buffering and message passing with sequential consistency: what must not be seen is not seen.
    let mut bad = 0;
    for _ in 0..200 {
        let (x, y) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (x2, y2) = (x.clone(), y.clone());
        let a = thread::spawn(move || {
            x.store(true, Ordering::SeqCst);
            y.load(Ordering::SeqCst)
        });
        x2.load(Ordering::Relaxed);
        y2.store(true, Ordering::SeqCst);
        let r = x2.load(Ordering::SeqCst);
        bad += (!a.join().unwrap() && !r) as u32;
    }
    bad.to_string()
}

struct Guard(Arc<AtomicU64>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn panics() -> String {
    let dropped = Arc::new(AtomicU64::new(0));
    let all: Vec<_> = (0..60)
        .map(|i| {
            let dropped = dropped.clone();
            thread::spawn(move || {
                let _g = Guard(dropped.clone());
                let _h = vec![Guard(dropped.clone()), Guard(dropped)];
                let a = [1, 2, 3];
                a[i % 6]
            })
        })
        .collect();
    let failed = all.into_iter().filter_map(|t| t.join().err()).count();
    let caught = (0..100).filter(|i| std::panic::catch_unwind(|| 100 / (i % 2)).is_err()).count();
    format!("{} {} {}", failed, dropped.load(Ordering::Relaxed), caught)
}

fn web() -> String {
    let l = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = l.local_addr().unwrap();
    let server = thread::spawn(move || {
        for s in l.incoming().take(30) {
            let mut s = s.unwrap();
            thread::spawn(move || {
                let mut b = Vec::new();
                s.read_to_end(&mut b).unwrap();
                s.write_all(&mix(1, &b).to_le_bytes()).unwrap();
            });
        }
    });
    let mut h = 0;
    for i in 0..30 {
        let mut s = TcpStream::connect(at).unwrap();
        s.write_all(&vec![i as u8; i * 1000]).unwrap();
        s.shutdown(Shutdown::Write).unwrap();
        let mut b = Vec::new();
        s.read_to_end(&mut b).unwrap();
        h = mix(h, &b);
    }
    server.join().unwrap();
    format!("{:x}", h)
}

fn processes() -> String {
    let all: Vec<_> = (0..10)
        .map(|i| {
            thread::spawn(move || {
                let mut c = Command::new("/bin/sh");
                c.arg("-c").arg(format!("read x; echo ${{x}}{}; exit {}", i, i)).stdin(Stdio::piped()).stdout(Stdio::piped());
                let mut p = c.spawn().unwrap();
                p.stdin.take().unwrap().write_all(b"in\n").unwrap();
                let o = p.wait_with_output().unwrap();
                format!("{}{}", String::from_utf8_lossy(&o.stdout).trim(), o.status.code().unwrap())
            })
        })
        .collect();
    let out: Vec<_> = all.into_iter().map(|t| t.join().unwrap()).collect();
    format!("{} {:?}", out.join(","), Command::new("/no/such/program").spawn().err().map(|e| e.kind()))
}

fn numbers() -> String {
    let mut v: Vec<f64> = (0..50000).map(|i| ((i * 7919 % 50021) as f64).sqrt()).collect();
    v.sort_by(|a, b| b.partial_cmp(a).unwrap());
    let s: f64 = v.iter().enumerate().map(|(i, x)| x / (i as f64 + 1.0)).sum();
    let w: u128 = (1..60u128).fold(1, |a, b| a.wrapping_mul(b * b + 1));
    format!("{:.6} {} {:x} {:?} {}", s, w, mix(3, format!("{:?}", &v[..100]).as_bytes()), "1e23".parse::<f64>(), i8::MAX.checked_add(1).is_none())
}

fn main() {
    std::panic::set_hook(Box::new(|_| {}));
    let parts: [(&str, fn() -> String); 7] = [("channels", channels), ("locks", locks), ("order", order), ("panics", panics), ("web", web),
        ("processes", processes), ("numbers", numbers)];
    for (name, part) in parts {
        println!("{} {}", name, part());
    }
}
