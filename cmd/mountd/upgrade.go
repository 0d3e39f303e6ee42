package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"weightfs/cmd/cli"
	"weightfs/cmd/mountd/keeper"
	"weightfs/handoff"
)

// An upgrade: the command, run as the new program, sends its own executable file and
// the flags that are to change to the keeper, which has a process of that program
// take over (keeper/upgrade.go) and answers with what came of it.

const (
	// maxUpgradeRequest bounds a request, in bytes.
	maxUpgradeRequest = 64 << 10
	// upgradeTimeout bounds how long an answer may take; the keeper gives up before.
	upgradeTimeout = 5 * time.Minute
	// programDescriptor is the least number of a program's open file: no number that
	// a process inherits.
	programDescriptor = 100
)

// upgradeRequest is sent with the descriptor of a program.
type upgradeRequest struct {
	Flags []string
	// TakeOver is for another mountd that is to have the mount (--take-over): no
	// program is sent with it, and what follows are messages of a keeper.Link.
	TakeOver bool
}

type upgradeAnswer struct {
	Error string // "" if a process of the program serves
	PID   int
	Pause time.Duration
}

func newUpgradeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "upgrade MOUNTPOINT [-- FLAG...]",
		Short: "Replace the mountd that serves a mount by this one, under its readers",
		Long: `upgrade has this mountd serve what is mounted at MOUNTPOINT in place of the one
that does. Readers wait some milliseconds; open files, mappings and what the kernel has
cached go on. The new one is started completely first: if it does not start, cannot
reach the source, or is of a version that cannot take over, the old one serves on, and
upgrade says why and exits with 1.

Source, flags and variables stay those of the running one; the flags behind -- are
added to them. What is decided by mounting cannot change: --allow-other and -o.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash > 1 || dash < 1 && len(args) > 1 {
				return cli.Usagef("unexpected argument %q: flags for the new mountd stand behind --", args[1])
			}
			if err := checkUpgradeFlags(args[1:]); err != nil {
				return err
			}
			answer, err := a.askUpgrade(args[0], args[1:])
			if err != nil {
				return fmt.Errorf("upgrade of %s: %w", args[0], err)
			}
			fmt.Fprintf(a.stdout, "%s: version %s serves as pid %d, readers waited %v\n",
				args[0], cli.Version(), answer.PID, answer.Pause.Round(100*time.Microsecond))
			return nil
		},
	}
}

// checkUpgradeFlags says what is wrong with flags for the new mountd.
func checkUpgradeFlags(args []string) error {
	flags := pflag.NewFlagSet("upgrade", pflag.ContinueOnError)
	flags.Usage = func() {}
	newSettings().register(flags)
	if err := flags.Parse(args); err != nil {
		return cli.Usagef("%w", err)
	}
	if flags.NArg() > 0 {
		return cli.Usagef("unexpected argument %q: source and mountpoint stay", flags.Arg(0))
	}
	for _, name := range []string{"allow-other", "options", "daemon", "foreground", "no-keeper", "take-over"} {
		if flags.Changed(name) {
			return cli.Usagef("--%s is of the mount, which stays as it is", name)
		}
	}
	return nil
}

// upgradeSocket is where a mount's keeper is asked for an upgrade.
func upgradeSocket(env cli.Lookup, mountpoint string) (string, error) {
	name, err := controlSocket(env, mountpoint)
	return strings.TrimSuffix(name, ".sock") + ".upgrade", err
}

// askUpgrade asks the keeper of a mount to have this program serve, and returns when
// it does.
func (a *app) askUpgrade(mountpoint string, flags []string) (answer upgradeAnswer, err error) {
	conn, err := a.dialKeeper(mountpoint)
	if err != nil {
		return answer, err
	}
	if conn == nil {
		return answer, a.noKeeper(mountpoint)
	}
	defer conn.Close()
	return sendUpgrade(conn, upgradeRequest{Flags: flags})
}

// dialKeeper connects to the keeper of a mount, nil where there is none.
func (a *app) dialKeeper(mountpoint string) (*net.UnixConn, error) {
	names, err := pathNames(mountpoint)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		socket, err := upgradeSocket(a.env, name)
		if err != nil {
			return nil, err
		}
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: socket, Net: "unixpacket"})
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		return conn, err
	}
	return nil, nil
}

// noKeeper says why nobody is there to be asked.
func (a *app) noKeeper(mountpoint string) error {
	if _, err := findReport(a.env, mountpoint); err != nil {
		return errNotMounted
	}
	return errors.New("it is served by one process alone (--no-keeper), or by a version before upgrades: restart it")
}

// sendUpgrade sends a request with this program, and waits for the answer.
func sendUpgrade(conn *net.UnixConn, request upgradeRequest) (answer upgradeAnswer, err error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return answer, err
	}
	defer self.Close()
	text, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	if len(text) > maxUpgradeRequest {
		return answer, fmt.Errorf("flags of %d bytes: at most %d", len(text), maxUpgradeRequest)
	}
	if err := conn.SetDeadline(time.Now().Add(upgradeTimeout)); err != nil {
		return answer, err
	}
	if _, _, err := conn.WriteMsgUnix(text, unix.UnixRights(int(self.Fd())), nil); err != nil {
		return answer, fmt.Errorf("ask the keeper: %w", err)
	}
	reply := make([]byte, maxUpgradeRequest)
	n, err := conn.Read(reply)
	if err == nil {
		err = json.Unmarshal(reply[:n], &answer)
	}
	if err != nil {
		return answer, fmt.Errorf("read the keeper's answer: %w", err)
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

// upgrader is a keeper's end of upgrades.
type upgrader struct {
	*app
	home     string
	upgrades chan<- keeper.Upgrade
	ended    chan struct{} // closed when the keeper has ended
	logger   *slog.Logger
	stop     func() error // nil where nobody can ask

	program program  // what serves; only for the goroutine that answers, as is file
	file    *os.File // that program's, nil for the keeper's own
}

// listen has upgrades asked for of the mount at dir. That it cannot is no reason not
// to mount.
func (u *upgrader) listen(dir string) {
	if dir == "" {
		return // mounted by somebody else, and found by nobody
	}
	name, err := upgradeSocket(u.env, dir)
	if err == nil {
		u.stop, err = serveSocket("unixpacket", name, u.logger, u.answer)
	}
	if err != nil {
		u.logger.Warn("mountd upgrade will not find this mount", "err", err)
	}
}

func (u *upgrader) close() {
	close(u.ended)
	if u.stop != nil {
		if err := u.stop(); err != nil {
			u.logger.Warn("cannot close cleanly", "err", err)
		}
	}
	if u.file != nil {
		_ = u.file.Close()
	}
}

// answer carries out one upgrade.
func (u *upgrader) answer(conn net.Conn) error {
	defer conn.Close()
	socket := conn.(*net.UnixConn)
	request, file, err := receiveUpgrade(socket)
	if err != nil {
		return err
	}
	if request.TakeOver {
		return u.carryOut(keeper.Upgrade{Peer: keeper.LinkOver(socket)}).Err
	}
	next := program{fmt.Sprint("/proc/self/fd/", file.Fd()), addFlags(u.program.args, request.Flags)}
	upgrade := keeper.Upgrade{
		Worker: func(start keeper.Start) *exec.Cmd { return u.worker(next, start, u.home) },
	}
	result := u.carryOut(upgrade)
	answer := upgradeAnswer{PID: result.PID, Pause: result.Pause}
	if result.Err == nil {
		u.program, u.file, file = next, file, u.file
	} else {
		answer.Error = result.Err.Error()
	}
	if file != nil {
		_ = file.Close() // nobody runs it
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	_, err = conn.Write(text)
	return err
}

// carryOut has the keeper carry out an upgrade, and returns what came of it.
func (u *upgrader) carryOut(upgrade keeper.Upgrade) keeper.Upgraded {
	done := make(chan keeper.Upgraded, 1)
	upgrade.Done = func(result keeper.Upgraded) { done <- result }
	select {
	case u.upgrades <- upgrade:
		return <-done
	case <-u.ended:
		return keeper.Upgraded{Err: errors.New("the mount ends")}
	}
}

// receiveUpgrade takes a request and its program from a process of this user, or of
// root.
func receiveUpgrade(conn *net.UnixConn) (request upgradeRequest, file *os.File, err error) {
	if err := fromUs(conn); err != nil {
		return request, nil, err
	}
	if err := conn.SetReadDeadline(time.Now().Add(controlTimeout)); err != nil {
		return request, nil, err
	}
	text, oob := make([]byte, maxUpgradeRequest), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(text, oob)
	if err != nil {
		return request, nil, err
	}
	if err := json.Unmarshal(text[:n], &request); err != nil {
		return request, nil, err
	}
	if request.TakeOver {
		return request, nil, conn.SetReadDeadline(time.Time{})
	}
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(controls) != 1 {
		return request, nil, fmt.Errorf("a request without a program: %w", errors.Join(err, unix.EPROTO))
	}
	fds, err := unix.ParseUnixRights(&controls[0])
	if err != nil || len(fds) != 1 {
		return request, nil, fmt.Errorf("a request with %d programs: %w", len(fds), errors.Join(err, unix.EPROTO))
	}
	defer unix.Close(fds[0])
	fd, err := unix.FcntlInt(uintptr(fds[0]), unix.F_DUPFD_CLOEXEC, programDescriptor)
	if err != nil {
		return request, nil, err
	}
	return request, os.NewFile(uintptr(fd), "program"), nil
}

// fromUs holds that who is at the other end of a socket is this user, or root.
func fromUs(conn *net.UnixConn) error {
	peer, err := handoff.PeerOf(conn)
	if err != nil {
		return fmt.Errorf("who asks for an upgrade: %w", err)
	}
	if peer.UID != 0 && int(peer.UID) != os.Geteuid() {
		return fmt.Errorf("user %d asks for an upgrade: %w", peer.UID, unix.EPERM)
	}
	return nil
}

// addFlags adds flags to arguments, where those that are behind beat those before.
func addFlags(args, flags []string) []string {
	end := slices.Index(args, "--") // behind which there are no flags
	if end < 0 {
		end = len(args)
	}
	return slices.Concat(args[:end], flags, args[end:])
}
