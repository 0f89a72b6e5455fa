// Goroutines that never yield (the runtime preempts them by SIGURG), channels, garbage collection under load, nil
// dereferences that become panics, timers, processes, HTTP over loopback, and the assembly of the standard library.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Loops without a call: only a signal takes the processor from them.
func spin(stop *uint32, n *uint64) {
	for atomic.LoadUint32(stop) == 0 {
		*n++
	}
}

func preemption() string {
	var stop uint32
	var wg sync.WaitGroup
	counts := make([]uint64, 8)
	for i := range counts {
		wg.Add(1)
		go func(n *uint64) { defer wg.Done(); spin(&stop, n) }(&counts[i])
	}
	collections := 0
	for i := 0; i < 3; i++ {
		runtime.GC() // stops the world: each spinner must be interrupted
		collections++
		time.Sleep(5 * time.Millisecond)
	}
	for i := range counts { // all of them must have run
		for atomic.LoadUint64(&counts[i]) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	atomic.StoreUint32(&stop, 1)
	wg.Wait()
	return fmt.Sprint(collections)
}

func channels() string {
	const workers, items = 100, 20000
	in, out := make(chan int), make(chan int, 16)
	var wg sync.WaitGroup
	for w := 0; w < workers; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for v := range in {
				out <- v * v % 9973
			}
		}()
	}
	go func() {
		for i := 0; i < items; i++ {
			in <- i
		}
		close(in)
		wg.Wait()
		close(out)
	}()
	sum := 0
	for v := range out {
		sum += v
	}
	return fmt.Sprint(sum)
}

type node struct {
	left, right *node
	name        string
}

func tree(depth int, name string) *node {
	if depth == 0 {
		return &node{name: name}
	}
	return &node{tree(depth-1, name+"l"), tree(depth-1, name+"r"), name}
}

func (n *node) count() int {
	if n == nil {
		return 0
	}
	return len(n.name) + n.left.count() + n.right.count()
}

func garbage() string {
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	var wg sync.WaitGroup
	var sum int64
	keep := tree(11, "")
	for g := 0; g < 4; g++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; i < 10; i++ {
				atomic.AddInt64(&sum, int64(tree(9, "x").count()))
			}
			m := map[string][]byte{}
			for i := 0; i < 3000; i++ {
				m[fmt.Sprint("key", i%500)] = make([]byte, 100+i%1000)
			}
			atomic.AddInt64(&sum, int64(len(m)))
		}()
	}
	wg.Wait()
	return fmt.Sprint(sum, keep.count())
}

// Deep recursion grows and moves the stack while pointers into it are live.
func deep(n int, p *int) int {
	var a [16]int
	a[n%16] = n
	if n == 0 {
		return *p
	}
	r := deep(n-1, p) + a[n%16]
	*p += 1
	return r
}

func faults() string {
	caught := 0
	for i := 0; i < 2000; i++ {
		func() {
			defer func() {
				if e, ok := recover().(runtime.Error); ok && strings.Contains(e.Error(), "nil pointer") {
					caught++
				}
			}()
			var n *node
			if i >= 0 {
				_ = n.right.name
			}
		}()
	}
	func() {
		defer func() {
			if recover() != nil {
				caught++
			}
		}()
		a := make([]int, 3)
		_ = a[len(os.Args)+10]
	}()
	x := 5
	return fmt.Sprint(caught, deep(20000, &x))
}

func timers() string {
	var fired int32
	done := make(chan bool)
	for i := 0; i < 200; i++ {
		time.AfterFunc(time.Duration(i%20)*time.Millisecond, func() {
			if atomic.AddInt32(&fired, 1) == 200 {
				close(done)
			}
		})
	}
	select {
	case <-done:
	case <-time.After(time.Minute):
	}
	return fmt.Sprint(atomic.LoadInt32(&fired))
}

func processes() string {
	var wg sync.WaitGroup
	out := make([]string, 12)
	for i := range out {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			c := exec.Command("/bin/sh", "-c", fmt.Sprintf("read x; echo ${x}%d; exit %d", i, i))
			c.Stdin = strings.NewReader("in\n")
			b, err := c.Output()
			out[i] = fmt.Sprint(strings.TrimSpace(string(b)), " ", err)
		}(i)
	}
	wg.Wait()
	_, err := exec.Command("/no/such/program").Output()
	return strings.Join(out, ",") + fmt.Sprint(" ", err)
}

func web() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err.Error()
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/sum", func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		json.NewEncoder(w).Encode(map[string]any{"sum": fmt.Sprintf("%x", sha256.Sum256(b))[:8], "n": len(b)})
	})
	s := &http.Server{Handler: mux}
	go s.Serve(l)
	defer s.Close()
	var wg sync.WaitGroup
	answers := make([]string, 40)
	for i := range answers {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			r, err := http.Post("http://"+l.Addr().String()+"/sum", "text/plain", bytes.NewReader(bytes.Repeat([]byte{byte(i)}, i*1000)))
			if err != nil {
				answers[i] = err.Error()
				return
			}
			defer r.Body.Close()
			var v struct {
				Sum string
				N   int
			}
			json.NewDecoder(r.Body).Decode(&v)
			answers[i] = fmt.Sprint(v.Sum, v.N)
		}(i)
	}
	wg.Wait()
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(answers, " "))))[:16]
}

func library() string {
	data := bytes.Repeat([]byte("pipit sings "), 20000)
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(data)
	w.Close()
	r, _ := gzip.NewReader(&z)
	back, _ := io.ReadAll(r)
	block, _ := aes.NewCipher(data[:32])
	gcm, _ := cipher.NewGCM(block)
	sealed := gcm.Seal(nil, data[:12], data, nil)
	opened, err := gcm.Open(nil, data[:12], sealed, nil)
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	hash := sha256.Sum256(sealed)
	sig, _ := ecdsa.SignASN1(rand.Reader, key, hash[:])
	f := new(big.Int).MulRange(1, 500)
	words := strings.Fields(string(data[:600]))
	sort.Strings(words)
	return fmt.Sprintf("%v %v %x %08x %v %x %s", bytes.Equal(back, data), err == nil && bytes.Equal(opened, data), hash[:4],
		crc32.ChecksumIEEE(sealed), ecdsa.VerifyASN1(&key.PublicKey, hash[:], sig), sha256.Sum256(f.Bytes()), words[0])
}

func main() {
	runtime.GOMAXPROCS(4)
	for _, part := range []struct {
		name string
		run  func() string
	}{{"preemption", preemption}, {"channels", channels}, {"garbage", garbage}, {"faults", faults}, {"timers", timers},
		{"processes", processes}, {"web", web}, {"library", library}} {
		fmt.Println(part.name, part.run())
	}
}
