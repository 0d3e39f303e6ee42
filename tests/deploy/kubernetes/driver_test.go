package kubernetes

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"weightfs/tests/rig"
)

// driver is a running driver and its node.
type driver struct {
	*rig.Process
	dir    string // of the node: the sockets, the state, and kubelet's folder
	socket string // the name of its own
	pod    bool   // it has a mount namespace of its own, from which mounts travel to the node
	env    []string
	conn   *grpc.ClientConn
	node   csi.NodeClient
}

// startDriver runs a driver on a node of its own until the test ends, which fails
// if anything is left then.
func startDriver(t *testing.T, env ...string) *driver {
	t.Helper()
	dir, err := os.MkdirTemp(theStage.base, "n")
	noError(t, err)
	d := &driver{dir: dir, socket: "csi.sock", env: env}
	noError(t, os.Mkdir(d.pods(), 0o755))
	t.Cleanup(func() { d.tearDown(t) })
	d.start(t)
	return d
}

func (d *driver) state() string    { return filepath.Join(d.dir, "state") }
func (d *driver) pods() string     { return filepath.Join(d.dir, "pods") }
func (d *driver) endpoint() string { return "unix://" + filepath.Join(d.dir, d.socket) }

// start starts the driver, for the first time or again, and returns when it answers.
func (d *driver) start(t *testing.T, flags ...string) {
	t.Helper()
	d.run(t, flags...)
	d.awaitAnswer(t)
}

// run runs the driver.
func (d *driver) run(t *testing.T, flags ...string) {
	t.Helper()
	args := append([]string{"--endpoint", d.endpoint(), "--node-id", "node-1", "--state-dir", d.state(), "--memory-limit", "64Mi", "--log-level", "debug"}, flags...)
	cmd := exec.Command(theStage.csi, args...)
	if d.pod {
		cmd = exec.Command("unshare", append([]string{"--mount", "--propagation", "unchanged", "--", theStage.csi}, args...)...)
	}
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir}, d.env...)
	var err error
	d.Process, err = rig.StartProcess(cmd)
	noError(t, err)
	d.conn, err = grpc.NewClient(d.endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	noError(t, err)
	d.node = csi.NewNodeClient(d.conn)
}

// awaitAnswer waits until the driver says that it is ready.
func (d *driver) awaitAnswer(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := d.probe(ctx); err != nil {
		t.Fatalf("the driver does not answer: %v: %s", err, d.Output())
	}
}

// probe asks the driver whether it is ready, once it listens.
func (d *driver) probe(ctx context.Context) error {
	_, err := csi.NewIdentityClient(d.conn).Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true))
	return err
}

// restart kills the driver and starts another in its place.
func (d *driver) restart(t *testing.T, flags ...string) {
	t.Helper()
	noError(t, d.Kill())
	noError(t, d.conn.Close())
	d.start(t, flags...)
}

// tearDown ends the driver and holds that nothing is left.
func (d *driver) tearDown(t *testing.T) {
	if d.Process == nil {
		return
	}
	if err := d.Stop(limit); err != nil {
		t.Error(err)
	}
	if code := d.Wait(); code != 0 && code != -int(unix.SIGKILL) {
		t.Errorf("the driver ended with %d", code)
	}
	if d.conn != nil {
		d.conn.Close()
	}
	if t.Failed() {
		t.Logf("the driver wrote:\n%s", d.Output())
	}
	if left := append(d.mounts(t), d.mountds(t)...); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	for _, path := range slices.Backward(d.mounts(t)) {
		noError(t, unix.Unmount(path, unix.MNT_DETACH))
	}
	if left, err := os.ReadDir(d.state()); err != nil || len(left) != 1 || left[0].Name() != "owner" {
		t.Errorf("left in the state directory: %v, %v", left, err)
	}
	if left, err := filepath.Glob(filepath.Join(d.dir, d.socket+"*")); err != nil || d.Wait() == 0 && len(left) > 0 {
		t.Errorf("left of its socket: %v, %v", left, err)
	}
}

// mounts are the mountpoints of weightfs on the node.
func (d *driver) mounts(t *testing.T) (paths []string) {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	noError(t, err)
	for line := range strings.Lines(string(table)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(fields[4], d.dir+"/") && strings.Contains(line, " - fuse.weightfs ") {
			paths = append(paths, fields[4])
		}
	}
	return paths
}

// mountds are the process ids of the node's mountds that live.
func (d *driver) mountds(t *testing.T) []string {
	t.Helper()
	return running(t, "mountd", d.dir+"/")
}

// running are the ids of the processes that live, are of that program, and have
// that text in their arguments.
func running(t *testing.T, program, argument string) (pids []string) {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	noError(t, err)
	for _, link := range links {
		path, _ := os.Readlink(link) // it may just have ended
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(link), "cmdline"))
		if filepath.Base(path) == program && strings.Contains(string(command), argument) {
			pids = append(pids, filepath.Base(filepath.Dir(link)))
		}
	}
	return pids
}

// keepers are those of them that no other has started.
func (d *driver) keepers(t *testing.T) []string {
	t.Helper()
	all := d.mountds(t)
	return slices.DeleteFunc(slices.Clone(all), func(pid string) bool {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return true // it has just ended
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		return slices.Contains(all, fields[1])
	})
}

// killMountd ends the only mountd, with the process that serves for it.
func (d *driver) killMountd(t *testing.T) {
	t.Helper()
	noError(t, rig.KillMountd(d.mountd(t)))
}

// mountd is the process id of the only one, which is its keeper's.
func (d *driver) mountd(t *testing.T) int {
	t.Helper()
	pids := d.keepers(t)
	if len(pids) != 1 {
		t.Fatalf("mountds are %v, want one", pids)
	}
	pid, err := strconv.Atoi(pids[0])
	noError(t, err)
	return pid
}

// awaitMountds waits until there are so many.
func (d *driver) awaitMountds(t *testing.T, n int) {
	t.Helper()
	rig.Await(t, strconv.Itoa(n)+" mountds", func() bool { return len(d.keepers(t)) == n })
}

// target is where the volume of a pod is published.
func (d *driver) target(pod string) string { return filepath.Join(d.pods(), pod, "mount") }

// readerCapability is that of a ReadOnlyMany volume.
func readerCapability() *csi.VolumeCapability {
	return capability(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
}

func capability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
	}
}

// request is the call by which kubelet publishes a volume for a pod.
func (d *driver) request(t *testing.T, id, pod string, attributes, secrets map[string]string) *csi.NodePublishVolumeRequest {
	t.Helper()
	noError(t, os.MkdirAll(filepath.Dir(d.target(pod)), 0o755))
	return &csi.NodePublishVolumeRequest{
		VolumeId: id, TargetPath: d.target(pod), VolumeCapability: readerCapability(), Readonly: true,
		VolumeContext: attributes, Secrets: secrets,
	}
}

// publish publishes, which must succeed, and returns the path of the object.
func (d *driver) publish(t *testing.T, id, pod string, attributes, secrets map[string]string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if _, err := d.node.NodePublishVolume(ctx, d.request(t, id, pod, attributes, secrets)); err != nil {
		t.Fatalf("publish %s for %s: %v", id, pod, err)
	}
	return filepath.Join(d.target(pod), object)
}

// unpublish takes the volume of a pod away, twice as kubelet may.
func (d *driver) unpublish(t *testing.T, id, pod string) {
	t.Helper()
	for range 2 {
		request := &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: d.target(pod)}
		if _, err := d.node.NodeUnpublishVolume(t.Context(), request); err != nil {
			t.Fatalf("unpublish %s for %s: %v", id, pod, err)
		}
	}
	if _, err := os.Lstat(d.target(pod)); !os.IsNotExist(err) {
		t.Errorf("the target of %s is still there: %v", pod, err)
	}
}

// attributes are those of a volume of the server's bucket at endpoint.
func attributes(endpoint string, more map[string]string) map[string]string {
	all := map[string]string{"source": "s3://" + bucket + "/" + prefix, "endpointUrl": endpoint, "region": theStage.Server.Region}
	maps.Copy(all, more)
	return all
}

// keys are a secret of the server's owner.
func keys() map[string]string {
	return map[string]string{"AWS_ACCESS_KEY_ID": theStage.Server.AccessKey, "AWS_SECRET_ACCESS_KEY": theStage.Server.SecretKey}
}

// checkRefused holds that err has that code and names all of parts.
func checkRefused(t *testing.T, err error, code codes.Code, parts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not name %q", err, part)
		}
	}
}
