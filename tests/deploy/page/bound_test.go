package page

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"weightfs/tests/proxy"
	"weightfs/tests/rig"
)

// TestWhatHoldsReadersBack makes each cause real, and looks what status says.
func TestWhatHoldsReadersBack(t *testing.T) {
	slow := proxy.Shape{FirstByte: 50 * time.Millisecond, PerConnection: 1 << 20, Total: 2 << 20}
	for _, c := range []struct {
		want, script string
		shape        proxy.Shape
		limit        int
		readers      int
		flags        []string
	}{
		{"line", `while dd if="$0" of=/dev/null bs=1M iflag=direct status=none; do :; done`, slow, 32, 1, nil},
		{"store", `while dd if="$0" of=/dev/null bs=1M iflag=direct status=none; do :; done`, proxy.Shape{FirstByte: 5 * time.Second}, 32, 1, nil},
		// Nobody listens there.
		{"shared cache", `while dd if="$0" of=/dev/null bs=1M iflag=direct status=none; do :; done`, proxy.Shape{}, 32, 1,
			[]string{"--cache-url=http://127.0.0.1:9", "--cache-direct-rate=1Mi"}},
		// Each reads a megabyte of its own over and over: more of them than there is memory.
		{"memory", `while dd if="$0" of=/dev/null bs=1M count=1 skip=$1 iflag=direct status=none; do :; done`, slow, 16, 40, nil},
		// It reads a little, and then does something else.
		{"reader", `while exec 3<"$0"; do for i in 1 2 3 4 5 6 7 8; do dd of=/dev/null bs=64k count=1 iflag=direct status=none <&3; sleep 0.1; done; done`, proxy.Shape{}, 64, 1, nil},
	} {
		t.Run(c.want, func(t *testing.T) {
			theStage.Server.Fill(t, bucket, map[string][]byte{shard: make([]byte, size)})
			before := proxy.Start(t, theStage.Server.Endpoint)
			b := &busyMount{Mount: theStage.MountFor(t, rig.MountOptions{
				Source: "s3://" + bucket, Args: append([]string{fmt.Sprintf("--memory-limit=%dMi", c.limit)}, c.flags...),
				Env: append(theStage.Server.Env(), "AWS_ENDPOINT_URL="+before.Endpoint),
			})}
			t.Cleanup(b.stopReading)
			t.Cleanup(func() { before.SetShape(proxy.Shape{}) }) // so that the readers' last reads end
			before.SetShape(c.shape)
			for i := range c.readers {
				b.read(t, c.script, shard, fmt.Sprint(i))
			}
			var held struct {
				Back struct{ By, Why string } `json:"held_back_by"`
			}
			if !rig.Eventually(func() bool {
				if err := json.Unmarshal([]byte(b.status(t, "--json")), &held); err != nil {
					t.Fatal(err)
				}
				return held.Back.By == c.want
			}) {
				t.Errorf("held back by %+v, want %s\n%s", held.Back, c.want, b.status(t))
			}
		})
	}
}
