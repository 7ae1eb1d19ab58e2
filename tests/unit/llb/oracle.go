package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

func main() {
	one := time.Unix(1, 0)
	sum := digest.FromString("x")
	name := llb.WithCustomName
	helper := llb.HTTP("http://buildkit-session/abc", llb.Checksum(sum), llb.Filename("helper"), llb.Chmod(0755), name("helper"))
	base := llb.Scratch().File(llb.Mkdir("/nix/store", 0755, llb.WithParents(true), llb.WithUIDGID(0, 0), llb.WithCreatedTime(one)).
		Mkfile("/etc/passwd", 0644, []byte("root:x\n")).
		Rm("/gone", llb.WithAllowNotFound(true)), name("base"))
	img := llb.Image("busybox", name("busybox"))
	layout := llb.OCILayout("fixed@"+sum.String(), llb.OCIStore("", "cache"), name("layout"))
	local := llb.Local("src", llb.SessionID("s1"), llb.IncludePatterns([]string{"a", "b*"}), llb.SharedKeyHint("k"), name("src"))
	git := llb.Git("https://example.org/a/b.git", "", llb.GitRef("main"), llb.GitChecksum("0123456789012345678901234567890123456789"), name("repository"))
	run := base.Run(llb.Args([]string{"/.nixbk/helper", "build"}), llb.Dir("/"), llb.AddEnv("NIXBK_STEP", "{}"), llb.Network(pb.NetMode_NONE),
		llb.AddExtraHost("nixbk", net.ParseIP("127.0.0.1")), llb.WithProxy(llb.ProxyEnv{HTTPProxy: "http://p", NoProxy: "no"}),
		llb.AddUlimit(llb.UlimitNofile, 10, 20), llb.Hostname("localhost"), llb.User("0:0"),
		llb.AddMount("/.nixbk/helper", helper, llb.Readonly, llb.SourcePath("/helper")),
		llb.AddMount("/nix/store/a", img, llb.Readonly, llb.SourcePath("/a"), llb.ContentCache(llb.MountContentCacheOff)),
		llb.AddMount("/nix/store/b", img, llb.Readonly, llb.SourcePath("/b"), llb.ContentCache(llb.MountContentCacheOn)),
		llb.AddMount("/build", llb.Scratch(), llb.ForceNoOutput),
		llb.AddMount("/tmp", llb.Scratch(), llb.Tmpfs(llb.TmpfsSize(4096))),
		llb.AddMount("/cache", llb.Scratch(), llb.AsPersistentCacheDir("id", llb.CacheMountLocked)),
		llb.AddSecret("/run/secret", llb.SecretID("token")),
		llb.AddSecret("TOKEN", llb.SecretAsEnv(true), llb.SecretID("token")),
		name("hello-2.10"))
	result := run.AddMount("/.nixbk/result", llb.Scratch())
	plain := base.Run(llb.Args([]string{"true"}), name("plain")).Root()
	copied := llb.Scratch().File(llb.Copy(run.Root(), "/nix/store/x", "/nix/store/x", &llb.CopyInfo{CreateDestPath: true}, llb.WithUIDGID(0, 0), llb.WithCreatedTime(one)).
		Copy(plain, "/a", "/b", &llb.CopyInfo{CopyDirContentsOnly: true, FollowSymlinks: true, AllowWildcard: true, Mode: &llb.ChmodOpt{Mode: 0755}}).
		Symlink("target", "/link"), name("copied"))
	diff := llb.Diff(base, run.Root(), name("diff"))
	merged := llb.Merge([]llb.State{diff, copied, local, git, layout, result}, name("merged"))
	arm := llb.Image("registry.example:5000/x/y:1@"+sum.String(), llb.Platform(ocispecs.Platform{OS: "linux", Architecture: "arm64"}), name("arm"))
	out := map[string]any{}
	for key, st := range map[string]llb.State{"merged": merged, "result": result, "arm": arm, "plain": plain} {
		def, err := st.Marshal(context.TODO(), llb.LinuxAmd64)
		if err != nil {
			panic(err)
		}
		ops := map[string]any{}
		for dg, md := range def.Metadata {
			caps := []string{}
			for c := range md.Caps {
				caps = append(caps, string(c))
			}
			ops[dg.String()] = map[string]any{"name": md.Description["llb.customname"], "caps": caps}
		}
		out[key] = map[string]any{"ops": ops, "terminal": digest.FromBytes(def.Def[len(def.Def)-1]).String()}
		for _, dt := range def.Def {
			var op pb.Op
			_ = op.UnmarshalVT(dt)
			fmt.Fprintf(os.Stderr, "%s %s %v\n", digest.FromBytes(dt), def.Metadata[digest.FromBytes(dt)].Description["llb.customname"], op.String())
		}
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", " ")
	_ = e.Encode(out)
}
