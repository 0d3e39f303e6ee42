package clients

import "testing"

// answers to what tools try in a model's folder beside reading it.
func answers() map[string]string {
	return map[string]string{
		"open O_RDWR":                          "EROFS",
		"open O_WRONLY":                        "EROFS",
		"open O_TRUNC":                         "EROFS",
		"open O_APPEND":                        "EROFS",
		"open O_CREAT of a lock file":          "EROFS",
		"open O_CREAT|O_EXCL":                  "EROFS",
		"open O_CREAT of a file that is there": "ok",
		"open O_TMPFILE":                       "EROFS",
		"open O_NOATIME":                       "ok",
		"open O_DIRECTORY of a file":           "ENOTDIR",
		"open O_RDWR of a folder":              "EISDIR",
		"mkdir .locks":                         "EROFS",
		"mkdir __pycache__":                    "EROFS",
		"mkdir of a folder that is there":      "EEXIST",
		"makedirs exist_ok":                    "ok",
		"mknod":                                "EROFS",
		"rename":                               "EROFS",
		"link":                                 "EROFS",
		"symlink":                              "EROFS",
		"unlink":                               "EROFS",
		"rmdir":                                "EROFS",
		"truncate":                             "EROFS",
		"fallocate":                            "EBADF",
		"chmod":                                "EROFS",
		"chown":                                "EROFS",
		"utime":                                "EROFS",
		"setxattr":                             "EROFS",
		"access W_OK":                          "EROFS",
		"access R_OK":                          "ok",
		"flock LOCK_SH":                        "ok",
		"flock LOCK_EX":                        "ok",
		"flock LOCK_EX, held by another":       "EAGAIN",
		"lockf of reading":                     "ok",
		"lockf of writing":                     "EBADF",
		"mmap shared, read":                    "ok",
		"mmap shared, write":                   "EACCES",
		"mmap private, written":                "ok",
		"filelock.FileLock":                    "EROFS",
		"filelock.SoftFileLock":                "EROFS",
	}
}

// TestWhatToolsTry holds the errno that each attempt to change something gets,
// and that locks, which change nothing, work.
func TestWhatToolsTry(t *testing.T) {
	for kind, source := range sources() {
		t.Run(kind, func(t *testing.T) {
			dir := mount(t, source)
			compare(t, byName(t, output(t, dir, `python "$SCRIPTS/writes.py"`)), answers())
			output(t, dir, `sha256sum -c --quiet "$2"`)
		})
	}
}
