set pagination off
set confirm off
break main
run
next
next
print d
print work(0)
# It has been translated, and now it changes.
tbreak work if n == 0 && counter == 0
continue
break work if n == 2
continue
bt
finish
watch counter
continue
continue
delete
hbreak on_usr1
continue
bt
print $_siginfo.si_signo
delete
hbreak thread
continue
info threads
thread apply all bt 1
delete
stepi
stepi
print/x $pc != 0
set var counter = 100
print $v0.d.u[0] == 12345
set var $v0.d.u[0] = 12345
print $v0.d.u[0]
rwatch handled
continue
delete
continue
