// An attachment in the hands of a third process, which knows nothing of it but its
// descriptors, and gives them back to whoever serves next.

package fs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"weightfs/fs/state"
)

// heldNote is what goes with descriptors that are held, in a file of its own.
type heldNote struct {
	sentAttachment
	Note string
}

// Hold returns descriptors for another process to hold, in any order, which the
// caller closes: from them [Held] makes the attachment again, and returns the note.
func (a *Attachment) Hold(note string) (files []*os.File, err error) {
	defer func() {
		if err != nil {
			for _, file := range files {
				err = errors.Join(err, file.Close())
			}
			files = nil
		}
	}()
	if a.state == nil {
		return nil, errors.New("hold a mount: nothing is kept of it")
	}
	for _, fd := range []int{a.fd, int(a.state.Fd())} {
		duplicate, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return files, fmt.Errorf("hold a mount: %w", err)
		}
		files = append(files, os.NewFile(uintptr(duplicate), "held"))
	}
	text, err := json.Marshal(heldNote{a.sent(), note})
	if err != nil {
		return files, fmt.Errorf("hold a mount: %w", err)
	}
	fd, err := unix.MemfdCreate("weightfs-note", unix.MFD_CLOEXEC)
	if err != nil {
		return files, fmt.Errorf("hold a mount: %w", err)
	}
	files = append(files, os.NewFile(uintptr(fd), "weightfs-note"))
	_, err = files[2].Write(text)
	return files, err
}

// Held is an attachment by the descriptors of [Attachment.Hold], which it owns from
// then on, the note that went with them, and how many processes have served it.
// ErrOther says that this program cannot take over. On an error, the descriptors are
// closed.
func Held(files []*os.File) (_ *Attachment, note string, served int, err error) {
	a := &Attachment{fd: -1}
	var text *os.File
	for _, file := range files {
		info, err := file.Stat()
		switch {
		case err != nil:
		case info.Mode()&os.ModeCharDevice != 0:
			if a.fd, err = unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0); err != nil {
				a.fd = -1
			}
		case info.Size() == state.Size:
			a.state = file
		default:
			text = file
		}
	}
	defer func() {
		for _, file := range files {
			if file != a.state || err != nil {
				_ = file.Close()
			}
		}
		if err != nil && a.fd >= 0 {
			_ = unix.Close(a.fd)
		}
	}()
	if a.fd < 0 || a.state == nil || text == nil {
		return nil, "", 0, fmt.Errorf("a mount by %d descriptors of which some are missing: %w", len(files), ErrOther)
	}
	held := heldNote{}
	data, err := io.ReadAll(io.NewSectionReader(text, 0, 1<<20))
	if err == nil {
		err = json.Unmarshal(data, &held)
	}
	if err != nil {
		return nil, "", 0, fmt.Errorf("the note of a mount: %w", err)
	}
	left, err := a.peek()
	if err != nil {
		return nil, "", 0, err
	}
	a.be(held.sentAttachment)
	return a, held.Note, int(left.Generation), nil
}
