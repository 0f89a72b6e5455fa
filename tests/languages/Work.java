// What a Java machine does to its host: loops that are compiled and replaced while they run, null checks and stack ends
// that are signals, safepoints that are page faults, collections while 50 threads allocate, monitors, virtual calls that
// are deoptimised, reflection, text, processes, HTTP over loopback.
import java.io.*;
import java.lang.invoke.*;
import java.lang.reflect.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.security.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.concurrent.locks.*;
import java.util.stream.*;
import java.util.zip.*;

public class Work {

    interface Shape {
        double area();
    }

    static final class Square implements Shape {
        final double a;

        Square(double a) {
            this.a = a;
        }

        public double area() {
            return a * a;
        }
    }

    static final class Circle implements Shape {
        final double r;

        Circle(double r) {
            this.r = r;
        }

        public double area() {
            return 3 * r * r;
        }
    }

    record Point(int x, int y) implements Comparable<Point> {
        public int compareTo(Point o) {
            return x != o.x ? Integer.compare(x, o.x) : Integer.compare(y, o.y);
        }
    }

    static class Chain {
        Chain next;
        int value = 1;
    }

    static String digest(byte[] b) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(b)).substring(0, 16);
    }

    static long loops() {
        long s = 0;
        for (int i = 0; i < 20_000_000; i++)
            s = s * 31 + (i ^ s >>> 7);
        return s;
    }

    // One class, then two: the inlined call is thrown away.
    static double sum(Shape[] shapes) {
        double s = 0;
        for (Shape x : shapes)
            s += x.area();
        return s;
    }

    static String deoptimise() {
        Shape[] shapes = new Shape[1000];
        double s = 0;
        for (int i = 0; i < shapes.length; i++)
            shapes[i] = new Square(i % 10);
        for (int i = 0; i < 2000; i++)
            s += sum(shapes);
        for (int i = 0; i < shapes.length; i += 2)
            shapes[i] = new Circle(i % 10);
        for (int i = 0; i < 2000; i++)
            s += sum(shapes);
        return String.format(Locale.ROOT, "%.1f", s);
    }

    static int length(String s) {
        return s.length(); // the check for null is a page fault
    }

    static int nulls() {
        int caught = 0;
        String[] a = {"a", null};
        for (int i = 0; i < 60_000; i++) {
            try {
                caught += length(a[i < 50_000 ? 0 : i & 1]);
            } catch (NullPointerException e) {
                caught += 1000;
            }
        }
        return caught;
    }

    static int depth;

    static void down() {
        depth++;
        down();
    }

    static String overflow() {
        int n = 0;
        for (int i = 0; i < 3; i++) {
            depth = 0;
            try {
                down();
            } catch (StackOverflowError e) {
                n += depth > 1000 ? 1 : 0;
            }
        }
        return n + " overflows";
    }

    static String threads() throws Exception {
        int n = 50;
        AtomicLong sum = new AtomicLong();
        long[] plain = {0, 0};
        Object lock = new Object();
        ReentrantLock other = new ReentrantLock();
        Thread[] t = new Thread[n];
        for (int k = 0; k < n; k++) {
            int id = k;
            t[k] = new Thread(() -> {
                Map<Integer, byte[]> keep = new HashMap<>();
                for (int i = 0; i < 2000; i++) {
                    keep.put(i % 50, new byte[200 + i % 300]);
                    sum.addAndGet(i);
                    if (i % 10 == 0)
                        synchronized (lock) {
                            plain[0] += keep.size() > 0 ? 1 : 0;
                        }
                    if (i % 10 == 5) {
                        other.lock();
                        try {
                            plain[1]++;
                        } finally {
                            other.unlock();
                        }
                    }
                }
                sum.addAndGet(id);
            });
            t[k].start();
        }
        for (Thread x : t)
            x.join();
        ThreadLocal<Integer> local = ThreadLocal.withInitial(() -> 7);
        ExecutorService pool = Executors.newFixedThreadPool(8);
        List<Future<Integer>> f = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            int k = i;
            f.add(pool.submit(() -> local.get() * k));
        }
        int s = 0;
        for (Future<Integer> x : f)
            s += x.get();
        pool.shutdown();
        return sum + " " + plain[0] + " " + plain[1] + " " + s + " " + IntStream.range(0, 100_000).parallel().map(x -> x % 7).sum();
    }

    // A loop without a safepoint of its own beside threads that ask for one.
    static String safepoints() throws Exception {
        AtomicBoolean stop = new AtomicBoolean();
        long[] counts = new long[4];
        Thread[] t = new Thread[4];
        for (int k = 0; k < 4; k++) {
            int id = k;
            t[k] = new Thread(() -> {
                while (!stop.get())
                    for (int i = 0; i < 10_000; i++)
                        counts[id] += i;
            });
            t[k].start();
        }
        int n = 0;
        for (int i = 0; i < 10; i++) {
            System.gc();
            n += Thread.getAllStackTraces().size() >= 4 ? 1 : 0;
        }
        stop.set(true);
        for (Thread x : t)
            x.join();
        return n + " stops";
    }

    static String garbage() {
        Chain keep = null;
        long s = 0;
        for (int i = 0; i < 400_000; i++) {
            Chain c = new Chain();
            if (i % 100 == 0) {
                c.next = keep;
                keep = c;
            }
            s += new int[10 + i % 20].length;
        }
        for (Chain c = keep; c != null; c = c.next)
            s += c.value;
        return "" + s;
    }

    public static String hello(String who) {
        return "hello " + who;
    }

    static String reflection() throws Throwable {
        Method m = Work.class.getMethod("hello", String.class);
        Object s = "";
        for (int i = 0; i < 100; i++) // the accessor is generated after some calls
            s = m.invoke(null, "reflection " + i);
        MethodHandle h = MethodHandles.lookup().findStatic(Work.class, "hello", MethodType.methodType(String.class, String.class));
        Comparator<?> proxy = (Comparator<?>)java.lang.reflect.Proxy.newProxyInstance(Work.class.getClassLoader(), new Class<?>[] {Comparator.class},
            (p, method, args) -> method.getName().equals("compare") ? 42 : null);
        @SuppressWarnings("unchecked") int c = ((Comparator<Object>)proxy).compare(1, 2);
        return s + ", " + (String)h.invokeExact("handle") + ", " + c;
    }

    static String text() throws Exception {
        StringBuilder b = new StringBuilder();
        for (int i = 0; i < 2000; i++)
            b.append(String.format(Locale.ROOT, "%05d %x %.3f %s|", i, i * 77, i / 7.0, new Point(i, -i)));
        Map<String, Long> words = Arrays.stream(b.toString().split("[^a-z]+")).collect(Collectors.groupingBy(x -> x, TreeMap::new,
            Collectors.counting()));
        TreeSet<Point> points = new TreeSet<>();
        for (int i = 0; i < 3000; i++)
            points.add(new Point(i * 7919 % 1000, i % 3));
        return digest(b.toString().getBytes(StandardCharsets.UTF_8)) + " " + words.keySet().hashCode() + " " + points.first() + points.size() +
            " " + new java.math.BigInteger("3").pow(2000).mod(java.math.BigInteger.valueOf(1_000_000_007));
    }

    static String library() throws Exception {
        byte[] data = "pipit sings ".repeat(20_000).getBytes(StandardCharsets.US_ASCII);
        ByteArrayOutputStream z = new ByteArrayOutputStream();
        try (GZIPOutputStream g = new GZIPOutputStream(z)) {
            g.write(data);
        }
        byte[] back = new GZIPInputStream(new ByteArrayInputStream(z.toByteArray())).readAllBytes();
        CRC32 crc = new CRC32();
        crc.update(data);
        javax.crypto.Cipher c = javax.crypto.Cipher.getInstance("AES/GCM/NoPadding");
        c.init(1, new javax.crypto.spec.SecretKeySpec(data, 0, 16, "AES"), new javax.crypto.spec.GCMParameterSpec(128, data, 0, 12));
        return Arrays.equals(back, data) + " " + Long.toHexString(crc.getValue()) + " " + digest(c.doFinal(data));
    }

    static String web() throws Exception {
        try (ServerSocket server = new ServerSocket(0, 50, InetAddress.getLoopbackAddress())) {
            Thread t = new Thread(() -> {
                try {
                    for (int i = 0; i < 30; i++) {
                        Socket s = server.accept();
                        new Thread(() -> {
                            try (s) {
                                byte[] b = s.getInputStream().readAllBytes();
                                s.getOutputStream().write(digest(b).getBytes());
                            } catch (Exception e) {
                                e.printStackTrace();
                            }
                        }).start();
                    }
                } catch (IOException e) {
                    e.printStackTrace();
                }
            });
            t.start();
            StringBuilder b = new StringBuilder();
            for (int i = 0; i < 30; i++)
                try (Socket s = new Socket(server.getInetAddress(), server.getLocalPort())) {
                    s.getOutputStream().write(new byte[i * 1000]);
                    s.shutdownOutput();
                    b.append(new String(s.getInputStream().readAllBytes()));
                }
            t.join();
            return digest(b.toString().getBytes());
        }
    }

    static String processes() throws Exception {
        StringBuilder b = new StringBuilder();
        List<Process> all = new ArrayList<>();
        for (int i = 0; i < 6; i++)
            all.add(new ProcessBuilder("/bin/sh", "-c", "echo out" + i + "; exit " + i).start());
        for (Process p : all) {
            b.append(new String(p.getInputStream().readAllBytes()).trim());
            b.append(p.waitFor());
        }
        try {
            new ProcessBuilder("/no/such/program").start();
        } catch (IOException e) {
            b.append(" none");
        }
        return b.toString();
    }

    public static void main(String[] args) throws Throwable {
        System.out.println("loops " + loops());
        System.out.println("deoptimise " + deoptimise());
        System.out.println("nulls " + nulls());
        System.out.println("overflow " + overflow());
        System.out.println("threads " + threads());
        System.out.println("safepoints " + safepoints());
        System.out.println("garbage " + garbage());
        System.out.println("reflection " + reflection());
        System.out.println("text " + text());
        System.out.println("library " + library());
        System.out.println("web " + web());
        System.out.println("processes " + processes());
    }
}
