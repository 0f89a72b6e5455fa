<?php
// Loops and calls that the tracing JIT compiles, generators, fibers, garbage, regular expressions (a JIT of their own),
// sockets, processes, text.
function digest(string $s): string { return substr(hash('sha256', $s), 0, 16); }

function loops(): string {
    $s = 0;
    for ($i = 0; $i < 3000000; $i++)
        $s = ($s * 31 + ($i ^ ($s >> 7))) & 0xffffffff;
    return (string)$s;
}

function fib(int $n): int { return $n < 2 ? $n : fib($n - 1) + fib($n - 2); }

abstract class Shape { abstract function area(): float; }
class Square extends Shape { function __construct(public float $a) {} function area(): float { return $this->a * $this->a; } }
class Circle extends Shape { function __construct(public float $r) {} function area(): float { return 3 * $this->r * $this->r; } }

function shapes(): string {
    $all = [];
    for ($i = 0; $i < 2000; $i++)
        $all[] = $i < 1000 ? new Square($i % 10) : new Circle($i % 10);
    $s = 0.0;
    for ($k = 0; $k < 50; $k++)
        foreach ($all as $x)
            $s += $x->area();
    return sprintf('%.1f', $s);
}

function mandelbrot(): int {
    $n = 0;
    for ($y = 0; $y < 60; $y++)
        for ($x = 0; $x < 60; $x++) {
            $cr = $x / 30.0 - 1.5; $ci = $y / 30.0 - 1; $zr = $zi = 0.0;
            for ($i = 0; $i < 50 && $zr * $zr + $zi * $zi < 4; $i++) {
                $t = $zr * $zr - $zi * $zi + $cr; $zi = 2 * $zr * $zi + $ci; $zr = $t; $n++;
            }
        }
    return $n;
}

function generators(): string {
    $count = (function (int $n) { for ($i = 0; $i < $n; $i++) { $x = yield $i => $i * $i; if ($x) return $x; } })(50000);
    $s = 0;
    foreach ($count as $k => $v)
        $s += $v % 7 + $k % 3;
    $fibers = [];
    for ($i = 0; $i < 200; $i++) {
        $fibers[] = $f = new Fiber(function (int $x) { for ($k = 0; $k < 5; $k++) $x += Fiber::suspend($x); return $x; });
        $f->start($i);
    }
    foreach ($fibers as $f) {
        while (!$f->isTerminated())
            $f->resume(2);
        $s += $f->getReturn();
    }
    return (string)$s;
}

class Node { public $other; public array $data; }

function garbage(): string {
    $n = 0;
    for ($i = 0; $i < 30000; $i++) { // cycles
        $a = new Node; $b = new Node; $a->other = $b; $b->other = $a; $a->data = range(0, $i % 20); $n += count($a->data);
    }
    return $n . ' ' . (gc_collect_cycles() >= 0 ? 'collected' : '');
}

function text(): string {
    $t = str_repeat('the quick brown fox 123 jumps over 4567 lazy dogs; ', 500);
    $n = preg_match_all('/\b[a-z]{4,}\b/', $t);
    $r = preg_replace_callback('/(\d)(\d+)/', fn($m) => $m[2] . '<' . $m[1] . '>', $t);
    $m = preg_match('/^(?:(a+)+)$/', str_repeat('a', 3000) . 'b');
    for ($i = 0, $u = ''; $i < 2000; $i++)
        $u .= sprintf('%05d %x %.3f|', $i, $i * 77, $i / 7);
    $d = ['list' => range(0, 500), 'float' => 1 / 3, 'nested' => [[null, true], ['a' => 'ü']]];
    return implode(' ', [$n, digest($r), var_export($m, true), digest($u), digest(serialize($d)), json_encode(json_decode(json_encode($d), true) == $d),
        unserialize(serialize($d)) == $d ? 'same' : 'differs', intdiv(7, 2), 7 <=> 8, PHP_INT_MAX + 1]);
}

function exceptions(): string {
    $n = 0;
    for ($i = 0; $i < 3000; $i++) {
        try {
            if ($i % 3 == 0) throw new RuntimeException("$i");
            $n += intdiv($i, $i % 3 - 1);
        } catch (DivisionByZeroError $e) {
            $n += 2;
        } catch (RuntimeException $e) {
            $n += (int)$e->getMessage();
        } finally {
            $n++;
        }
    }
    return (string)$n;
}

function web(): string {
    $server = stream_socket_server('tcp://127.0.0.1:0');
    $s = '';
    for ($i = 0; $i < 20; $i++) {
        $c = stream_socket_client('tcp://' . stream_socket_get_name($server, false));
        $p = stream_socket_accept($server);
        fwrite($c, str_repeat('x', $i * 1000));
        stream_socket_shutdown($c, STREAM_SHUT_WR);
        fwrite($p, digest(stream_get_contents($p)));
        fclose($p);
        $s .= stream_get_contents($c);
    }
    return digest($s);
}

function processes(): string {
    $s = [];
    for ($i = 0; $i < 6; $i++) {
        $p = proc_open(['/bin/sh', '-c', "read x; echo \${x}$i; exit $i"], [['pipe', 'r'], ['pipe', 'w']], $pipes);
        fwrite($pipes[0], "out\n");
        fclose($pipes[0]);
        $s[] = trim(stream_get_contents($pipes[1]));
        $s[] = proc_close($p);
    }
    return implode(',', $s) . ' ' . trim(shell_exec('echo shell'));
}

foreach (['loops', fn() => fib(22), 'shapes', 'mandelbrot', 'generators', 'garbage', 'text', 'exceptions', 'web', 'processes'] as $i => $part)
    echo is_string($part) ? $part : 'fib', ' ', $part(), "\n";
$o = opcache_get_status(false);
echo 'jit ', $o && $o['jit']['on'] ? 'on' : 'off', "\n";
