package main

import "fmt"

// share says whether other processes may map the cache's memory. It implements
// pflag.Value.
type share struct{ off bool }

func (s *share) Set(text string) error {
	switch text {
	case "auto", "off":
		s.off = text == "off"
		return nil
	}
	return fmt.Errorf("%q is neither auto nor off", text)
}

func (s *share) String() string {
	if s.off {
		return "off"
	}
	return "auto"
}

func (s *share) Type() string { return "mode" }

// tellShared says at the start whether the cache's memory can be mapped.
func (m *mounted) tellShared() {
	if _, err := m.Cache.Shared(); err != nil {
		m.Logger.Info("the cache's memory is of this process alone", "why", err)
		return
	}
	m.Logger.Info("the cache's memory can be mapped by other processes, in huge pages")
}
