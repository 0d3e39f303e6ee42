package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"time"

	"weightfs/cmd/mountd/keeper"
	weightfs "weightfs/fs"
)

// otherTimeout bounds how long another mountd may take to hand its mount over.
const otherTimeout = time.Minute

// other is the keeper of another mountd, whose mount this one is to take over.
type other struct {
	conn *net.UnixConn
	link *keeper.Link
}

// findOther asks the keeper of a mount for it. It is nil where nobody is mounted.
func (a *app) findOther(mountpoint string) (*other, error) {
	conn, err := a.dialKeeper(mountpoint)
	if err != nil || conn == nil {
		return nil, err
	}
	text, err := json.Marshal(upgradeRequest{TakeOver: true})
	if err == nil {
		_, err = conn.Write(text)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &other{conn, keeper.LinkOver(conn)}, nil
}

// ask says a message to the other keeper, and returns what it answers.
func (o *other) ask(message byte) (byte, *weightfs.Attachment, error) {
	if err := o.link.Say(message, ""); err != nil {
		return 0, nil, err
	}
	if err := o.conn.SetReadDeadline(time.Now().Add(otherTimeout)); err != nil {
		return 0, nil, err
	}
	what, text, mount, err := o.link.Hear()
	if err == nil && what == keeper.Refused {
		err = errors.New(text)
	}
	return what, mount, err
}

// mount is the mount that the other keeper holds, which must show the source.
func (o *other) mount(source string) (*weightfs.Attachment, error) {
	_, mount, err := o.ask(keeper.SourceIsOpen)
	if err != nil {
		return nil, fmt.Errorf("take over from another mountd: %w", err)
	}
	if mount == nil {
		return nil, errors.New("take over from another mountd: it sends no mount")
	}
	if served := mount.Source(); served != "" && served != source {
		return nil, errors.Join(fmt.Errorf("take over from another mountd: it serves %s: end it first", served), mount.Close())
	}
	return mount, nil
}

// claim has the other keeper's worker end, and the mount be ours.
func (o *other) claim() error {
	what, _, err := o.ask(keeper.Prepared)
	if err == nil && what != keeper.TakeOver {
		err = fmt.Errorf("it answers %q", what)
	}
	if err != nil {
		return fmt.Errorf("take over from another mountd: %w", err)
	}
	return nil
}
