# Threads, fibers, forks, signals, garbage collection with compaction, Marshal, regular expressions, sockets, processes.
require 'digest'
require 'socket'
require 'zlib'
require 'json'

def digest(s) = Digest::SHA256.hexdigest(s)[0, 16]

def threads
  q = Queue.new
  out = Queue.new
  workers = Array.new(20) { Thread.new { while (v = q.pop) != :end do out << v * v % 9973 end } }
  2000.times { |i| q << i }
  20.times { q << :end }
  workers.each(&:join)
  m = Mutex.new
  n = 0
  Array.new(20) { Thread.new { 200.times { m.synchronize { n += 1 } } } }.each(&:join)
  sleeper = Thread.new { sleep }
  sleeper.raise('woken')
  woken = begin sleeper.report_on_exception = false; sleeper.join; rescue => e then e.message end
  sum = 0
  sum += out.pop until out.empty?
  "#{sum} #{n} #{woken}"
end

def fibers
  f = Fiber.new { a, b = 0, 1; loop { Fiber.yield a; a, b = b, a + b } }
  s = Array.new(300) { f.resume }.last
  all = Array.new(200) { |i| Fiber.new { |x| 5.times { x = Fiber.yield(x + i) }; x } }
  t = 0
  5.times { |r| all.each { |g| t += g.resume(r) } }
  e = Enumerator.new { |y| 10.times { |i| y << i } }
  "#{s % 1_000_000_007} #{t} #{e.next + e.next}"
end

def forks
  (0...10).map do |i|
    r, w = IO.pipe
    pid = fork do
      r.close
      Thread.new { w.write("child#{i} #{(1..20).inject(:*)}") }.join
      exit!(i)
    end
    w.close
    text = r.read
    Process.wait(pid)
    "#{text} #{$?.exitstatus}"
  end.join(',').then { |s| digest(s) }
end

def signals
  got = 0
  old = trap('USR1') { got += 1 }
  50.times { |i| Process.kill('USR1', Process.pid); sleep 0.0005 until got > i }
  trap('USR1', old || 'DEFAULT')
  got
end

Node = Struct.new(:left, :right, :name)

def tree(n, name) = n.zero? ? Node.new(nil, nil, name) : Node.new(tree(n - 1, name + 'l'), tree(n - 1, name + 'r'), name)
def size(n) = n ? n.name.size + size(n.left) + size(n.right) : 0

def garbage
  keep = tree(10, '')
  t = 0
  10.times { t += size(tree(8, 'x')) }
  3.times { GC.start }
  GC.compact if GC.respond_to?(:compact)
  "#{t} #{size(keep)}"
rescue NotImplementedError
  "#{t} #{size(keep)}"
end

def recursion
  depth = 0
  down = ->(x) { depth += 1; down.(x) }
  begin
    down.(1)
  rescue SystemStackError => e
    "#{e.class} #{depth > 500}"
  end
end

def library
  data = { 'list' => (0...2000).to_a, 'float' => 1.0 / 3, 'sym' => :x, 'big' => 3**500, 'nested' => [[nil, true], { a: 'ü' }] }
  back = Marshal.load(Marshal.dump(data))
  z = Zlib::Inflate.inflate(Zlib::Deflate.deflate('pipit sings ' * 20_000))
  words = ('the quick brown fox 123 jumps ' * 300).scan(/[a-z]{4,}/).tally.sort.to_s
  code = eval((0...50).map { |i| "def generated#{i}(x) = x * #{i}\n" }.join + '(0...50).sum { |i| send("generated#{i}", i) }')
  "#{back == data} #{digest(z)} #{digest(words)} #{code} #{digest(JSON.generate(data.slice('list', 'float')))} #{format('%.10f %e', Math.sin(1), 2.0**70)}"
end

def web
  server = TCPServer.new('127.0.0.1', 0)
  t = Thread.new { 20.times { c = server.accept; Thread.new { c.write(digest(c.read)); c.close } } }
  s = (0...20).map { |i| c = TCPSocket.new('127.0.0.1', server.addr[1]); c.write('x' * i * 1000); c.close_write; c.read }
  t.join
  digest(s.join)
end

def processes
  out = Array.new(6) { |i| Thread.new { `echo out#{i}; exit #{i}`.strip + $?.exitstatus.to_s } }.map(&:value)
  none = begin Process.spawn('/no/such/program'); rescue Errno::ENOENT then 'ENOENT' end
  out.join(',') + ' ' + none
end

def mandelbrot
  n = 0
  40.times { |y| 40.times { |x| c = Complex(x / 20.0 - 1.5, y / 20.0 - 1); z = 0; 30.times { z = z * z + c; break if z.abs2 > 4; n += 1 } } }
  n
end

%i[threads fibers forks signals garbage recursion library web processes mandelbrot].each { |p| puts "#{p} #{send(p)}"; $stdout.flush }
