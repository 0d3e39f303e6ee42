package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"weightfs/fs"
)

// part is what a worker of the tests of upgrades does: it serves, but for one Fault.
type part struct {
	Start
	Fault string // "refuse", "end" before it is prepared, "fall" when it takes over, "once" as the second
}

func (p part) command() *exec.Cmd {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	return command(string(text))
}

// serve plays a worker that serves nothing.
func serve(link *Link, role string) (code int, err error) {
	p := part{}
	if err := json.Unmarshal([]byte(role), &p); err != nil {
		return 1, err
	}
	hear := func(want byte) {
		if what, _, _, heard := link.Hear(); err == nil && (heard != nil || what != want) {
			err = errors.Join(fmt.Errorf("heard %q in place of %q", what, want), heard)
		}
	}
	switch p.Fault {
	case "refuse":
		return 1, link.Say(Refused, "no reason")
	case "end":
		return 5, nil
	}
	if p.Planned || p.Takeovers == 0 {
		err = link.Say(SourceIsOpen, "here")
	}
	hear(0) // the mount
	if p.Planned {
		err = errors.Join(err, link.Say(Prepared, ""))
		hear(TakeOver)
	}
	if p.Fault == "fall" || p.Fault == "once" && p.Takeovers == 1 {
		return 6, err
	}
	if err = errors.Join(err, link.Say(MountAnswers, Canaries())); err != nil {
		return 1, err
	}
	for {
		switch what, _, _, err := link.Hear(); {
		case err != nil:
			return 1, err
		case what == HandOver:
			return 0, nil
		case what == Terminate:
			err := link.Say(MountEnded, "")
			hear(Understood)
			return 0, err
		}
	}
}

// keepFake keeps what is no mount, and returns what upgrades it, what ends it, and its
// end.
func keepFake(t *testing.T, started chan<- Start) (upgrade func(fault string, peer *Link) Upgraded, signals chan os.Signal, ended chan error) {
	upgrades := make(chan Upgrade)
	signals, ended = make(chan os.Signal, 1), make(chan error, 1)
	answers := make(chan struct{})
	worker := func(fault string) Command {
		return func(s Start) *exec.Cmd {
			started <- s
			return part{s, fault}.command()
		}
	}
	go func() {
		code, err := Run(Config{
			Worker: worker(""),
			Mount: func() (*fs.Attachment, error) {
				device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
				if err != nil {
					return nil, err
				}
				return fs.Attach(fmt.Sprint("/dev/fd/", device), fs.Config{})
			},
			Answers:  func() error { close(answers); return nil },
			Signals:  signals,
			Upgrades: upgrades,
			Logger:   slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if code != 0 {
			err = errors.Join(err, fmt.Errorf("exit %d", code))
		}
		ended <- err
	}()
	<-answers
	return func(fault string, peer *Link) Upgraded {
		done := make(chan Upgraded, 1)
		upgrades <- Upgrade{worker(fault), peer, func(u Upgraded) { done <- u }}
		return <-done
	}, signals, ended
}

// What cannot take over is given up and nothing changes, and what falls when it takes
// over is followed by the program before it.
func TestUpgrade(t *testing.T) {
	started := make(chan Start, 10)
	upgrade, signals, ended := keepFake(t, started)
	want := func(s Start) {
		t.Helper()
		if got := <-started; got != s {
			t.Errorf("started is %+v, want %+v", got, s)
		}
	}
	want(Start{})
	if u := upgrade("refuse", nil); u.Err == nil || u.Err.Error() != "no reason" {
		t.Errorf("one that refuses: %+v", u)
	}
	want(Start{Planned: true, Source: "here"})
	if u := upgrade("end", nil); u.Err == nil || u.Err.Error() != "the new process ended before it was prepared: exit status 5" {
		t.Errorf("one that ends: %+v", u)
	}
	want(Start{Planned: true, Source: "here"})
	if u := upgrade("", nil); u.Err != nil || unix.Kill(u.PID, 0) != nil || u.Pause <= 0 {
		t.Errorf("one that serves: %+v", u)
	}
	want(Start{Planned: true, Source: "here"})
	if u := upgrade("fall", nil); !errors.Is(u.Err, errFell) {
		t.Errorf("one that falls: %+v", u)
	}
	want(Start{Upgrades: 1, Planned: true, Source: "here"})
	want(Start{Upgrades: 1, Takeovers: 1, Source: "here"}) // of the program before
	for {                                                  // until that one serves
		u := upgrade("", nil)
		if u.Err == nil {
			break
		}
		if !errors.Is(u.Err, errDied) {
			t.Fatalf("after that: %+v", u)
		}
	}
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if upgrade := (&successor{late: nil}); upgrade.hears() != nil || upgrade.isLate() != nil {
		t.Error("one that has taken over is heard twice")
	}
}

// A mount that was inherited is served by whoever does not fall, as after a death.
func TestInherited(t *testing.T) {
	device, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	mount, err := fs.Attach(fmt.Sprint("/dev/fd/", device), fs.Config{})
	if err != nil {
		t.Fatal(err)
	}
	starts, signals := []Start{}, make(chan os.Signal, 1)
	code, err := Run(Config{
		Worker: func(s Start) *exec.Cmd {
			starts = append(starts, s)
			return part{s, "once"}.command()
		},
		Mount:     func() (*fs.Attachment, error) { return nil, errors.New("mounted twice") },
		Answers:   func() error { signals <- syscall.SIGTERM; return nil },
		Signals:   signals,
		Logger:    slog.New(slog.DiscardHandler),
		Inherited: mount,
		Start:     Start{Takeovers: 1, Held: true, Source: "here"},
	})
	if code != 0 || err != nil {
		t.Errorf("exit %d, %v", code, err)
	}
	if want := []Start{{Takeovers: 1, Held: true, Source: "here"}, {Takeovers: 2, Held: true, Source: "here"}}; !slices.Equal(starts, want) {
		t.Errorf("started were %+v", starts)
	}
}

// linkPair is both ends of a link.
func linkPair(t *testing.T) (ours, theirs *Link) {
	t.Helper()
	ours, file, err := NewLink()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	if theirs, err = InheritLink(fd); err != nil {
		t.Fatal(err)
	}
	return ours, theirs
}

// What a process has said before its end is heard, whoever notices its end first.
func TestLastWordIsHeard(t *testing.T) {
	for range 100 {
		ours, theirs := linkPair(t)
		if err := errors.Join(theirs.Say(SourceIsOpen, ""), theirs.Say(Refused, "why"), theirs.Close()); err != nil {
			t.Fatal(err)
		}
		w := newWorker(ours)
		w.noteDeath()
		w.hear()
		if first, last := <-w.heard, <-w.heard; first.what != SourceIsOpen || last.text != "why" {
			t.Fatalf("heard %+v and %+v", first, last)
		}
		ours.Close()
	}
}

// Another keeper that asks while an upgrade is under way, or before the mount answers,
// is told so.
func TestBusyKeeperSaysSo(t *testing.T) {
	for _, k := range []*keeper{{}, {answered: true, stopping: true}, {answered: true, next: &successor{}}} {
		ours, theirs := linkPair(t)
		defer ours.Close()
		k.beginUpgrade(Upgrade{Peer: theirs, Done: func(u Upgraded) {
			if !errors.Is(u.Err, ErrBusy) {
				t.Errorf("it ends with %v", u.Err)
			}
		}})
		if what, text, _, err := ours.Hear(); err != nil || what != Refused || text != ErrBusy.Error() {
			t.Errorf("it hears %q %q: %v", what, text, err)
		}
	}
}

// claim has a keeper take the mount of another one over, by a link. Its first worker
// has the fault, and it ends as soon as the mount answers.
func claim(link *Link, fault string) (code int, err error) {
	defer link.Close()
	signals := make(chan os.Signal, 1)
	var told []string
	code, err = Run(Config{
		Worker: func(s Start) *exec.Cmd {
			if s.Planned {
				return part{s, fault}.command()
			}
			return part{s, ""}.command()
		},
		Mount: func() (*fs.Attachment, error) {
			if err := link.Say(SourceIsOpen, ""); err != nil {
				return nil, err
			}
			_, _, mount, err := link.Hear()
			return mount, err
		},
		Claim: func() error {
			if err := link.Say(Prepared, ""); err != nil {
				return err
			}
			if what, text, _, err := link.Hear(); err != nil || what != TakeOver {
				return fmt.Errorf("heard %q %s: %w", what, text, err)
			}
			told = append(told, "claimed")
			return nil
		},
		Kept: func(_ *fs.Attachment, source string) error {
			told = append(told, "kept from "+source)
			return errors.New("which cannot end it: readers wait")
		},
		Answers: func() error { signals <- syscall.SIGTERM; return nil },
		Signals: signals,
		Logger:  slog.New(slog.DiscardHandler),
		Start:   Start{Planned: true},
	})
	if told != nil && !slices.Equal(told, []string{"claimed", "kept from here"}) {
		err = errors.Join(err, fmt.Errorf("a mount is %q", told))
	}
	return code, err
}

// A keeper gives its mount to another one only if that one's worker is prepared, and
// ends then. A worker that falls after that is the other one's to replace.
func TestGivenAway(t *testing.T) {
	for _, fault := range []string{"", "fall"} {
		started := make(chan Start, 10)
		upgrade, _, ended := keepFake(t, started)
		for _, bad := range []string{"end", "refuse", fault} {
			ours, theirs := linkPair(t)
			claimed := make(chan error, 1)
			go func() {
				code, err := claim(ours, bad)
				if code != 0 && err == nil {
					err = fmt.Errorf("exit %d", code)
				}
				claimed <- err
			}()
			given, err := upgrade("", theirs), <-claimed
			if wanted := bad == fault; (given.Err == nil) != wanted || (err == nil) != wanted {
				t.Fatalf("to one that does %q: given %v, claimed %v", bad, given.Err, err)
			}
		}
		if err := <-ended; !errors.Is(err, ErrGivenAway) {
			t.Errorf("the first keeper ends with %v", err)
		}
		<-started
		if len(started) != 0 {
			t.Errorf("it has started %d more workers", len(started))
		}
	}
}
