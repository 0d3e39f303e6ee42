package faults

import (
	"bytes"
	"context"
	"testing"

	"weightfs/tests/rig"
)

// realStore is a bucket of the real server, which keeps objects as files.
type realStore struct{ bucket string }

func (s realStore) put(key string, content []byte) error {
	return theStage.Server.Put(context.Background(), s.bucket, key, bytes.NewReader(content))
}

func (s realStore) remove(key string) error {
	return theStage.Server.Delete(context.Background(), s.bucket, key)
}

// memoryStore is a server for keys that no file system can hold together, which
// lists in many pages.
type memoryStore struct{ keys rig.KeyServer }

// startMemoryStore runs one until the test ends and returns the variables that
// lead clients to it.
func startMemoryStore(t *testing.T) (s *memoryStore, env []string) {
	t.Helper()
	s = &memoryStore{rig.KeyServer{PageSize: 3}}
	return s, append(theStage.Server.Env(), "AWS_ENDPOINT_URL="+s.keys.Start(t))
}

func (s *memoryStore) put(key string, content []byte) error {
	s.keys.Put(key, rig.Bytes(bytes.Clone(content)))
	return nil
}

func (s *memoryStore) remove(key string) error {
	s.keys.Remove(key)
	return nil
}
