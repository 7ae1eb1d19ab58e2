# A small package set with a real toolchain, all from Debian bookworm:
#   seed (static bash + busybox)  ->  .deb FODs  ->  glibc, patchelf, binutils,
#   gcc, make  ->  cc wrapper  ->  C packages from .orig tarballs.
# Nothing is compiled or looked up outside the store.
#
# mirror: where the archive's pool/ is served (`dev/engines start mirror` does);
# seedPath: the folder that prepare.py made;
# ca: every derivation floating content-addressed.
{ mirror ? "http://127.0.0.1:8642", seedPath ? ./seed, ca ? false }:
let
  S = builtins.fromJSON (builtins.readFile ./sources.json);
  fetch = { path, name, sha256, ... }: derivation {
    builder = "builtin:fetchurl"; system = "builtin";
    outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = sha256;
    inherit name; url = "${mirror}/${path}"; urls = [ "${mirror}/${path}" ];
    executable = false; unpack = false; preferLocalBuild = true;
    impureEnvVars = [ "http_proxy" "https_proxy" "ftp_proxy" "all_proxy" "no_proxy" ];
  };
  deb = n: fetch S.debs.${n};
  seed = builtins.path { path = seedPath; name = "minipkgs-seed"; };
  caArgs = if ca then { __contentAddressed = true; outputHashMode = "recursive"; outputHashAlgo = "sha256"; } else { };
  drv = args: derivation ({ system = "x86_64-linux"; builder = "${seed}/bin/bash"; inherit seed; } // caArgs // args);
  undeb = name: debs: args: drv ({ inherit name; debs = map deb debs; args = [ "-e" ./undeb.sh ]; } // args);
  mk = args: drv ({ args = [ "-e" ./setup.sh ]; inherit cc; make = gnumake; tar = gnutar; } // args // {
    buildInputs = args.buildInputs or [ ]; });

  glibc = undeb "glibc-2.36" [ "libc6" "libc6-dev" "linux-libc-dev" ] { };
  patchelf = undeb "patchelf-0.14.3" [ "patchelf" "libstdc++6" "libgcc-s1" ] { };
  pe = { inherit glibc patchelf; };
  binutils = undeb "binutils-2.40" [ "binutils-x86-64-linux-gnu" "libbinutils" "libctf0" "libctf-nobfd0" "libjansson4" "libgprofng0" "libzstd1" "zlib1g" "libgcc-s1" "libstdc++6" ] pe;
  gcc = undeb "gcc-12.2.0" [ "gcc-12" "cpp-12" "libgcc-12-dev" "libgcc-s1" "libisl23" "libmpc3" "libmpfr6" "libgmp10" "libzstd1" "zlib1g" "libstdc++6" ] pe;
  gnumake = undeb "gnumake-4.3" [ "make" ] (pe // { postInstall = "ln -s usr/bin $out/bin"; });

  gnutar = undeb "gnutar-1.34" [ "tar" "libacl1" "libselinux1" "libpcre2-8-0" ] (pe // { postInstall = "chmod -R u+w $out; rm -rf $out/usr/sbin $out/usr/lib/mime; ln -s ./bin/tar $out/tar"; });

  cc = drv {
    name = "cc-wrapper"; inherit gcc binutils glibc;
    passAsFile = [ "wrapper" ];
    wrapper = ''
      #! @seed@/bin/bash
      link=1; for a in "$@"; do case $a in -c|-S|-E|-M|-MM) link= ;; esac; done
      set -- --sysroot=@glibc@ -B@binutils@/usr/bin/x86_64-linux-gnu- $NIX_CFLAGS "$@"
      [ -n "$link" ] && set -- "$@" $NIX_LDFLAGS -L@gcc@/lib/x86_64-linux-gnu -Wl,-dynamic-linker,@glibc@/lib64/ld-linux-x86-64.so.2 -Wl,-rpath,@glibc@/lib/x86_64-linux-gnu -Wl,--build-id=none
      exec @gcc@/usr/bin/x86_64-linux-gnu-gcc-12 "$@"
    '';
    args = [ "-ec" ''
      export PATH=$seed/bin
      mkdir -p $out/bin
      sed -e "s,@seed@,$seed,;s,@glibc@,$glibc,g;s,@binutils@,$binutils,g;s,@gcc@,$gcc,g" $wrapperPath > $out/bin/gcc
      chmod +x $out/bin/gcc; ln -s gcc $out/bin/cc
      for t in ar as ld nm ranlib strip objcopy objdump readelf size strings; do ln -s $binutils/usr/bin/x86_64-linux-gnu-$t $out/bin/$t; done
    '' ];
  };

  pkgs = rec {
    inherit glibc patchelf binutils gcc gnumake gnutar cc;

    zlib = mk { name = "zlib-1.2.13"; outputs = [ "out" "dev" ]; src = fetch S.srcs.zlib; };
    bzip2 = mk { name = "bzip2-1.0.8"; src = fetch S.srcs.bzip2;
      buildPhase = "make SHELL=$SHELL CC=gcc AR=ar RANLIB=ranlib libbz2.a bzip2 bzip2recover";
      installPhase = "make SHELL=$SHELL CC=gcc install PREFIX=$out; rm -rf $out/man; for l in bzegrep bzfgrep; do ln -sfn bzgrep $out/bin/$l; done; ln -sfn bzmore $out/bin/bzless; ln -sfn bzdiff $out/bin/bzcmp"; };
    lz4 = mk { name = "lz4-1.9.4"; src = fetch S.srcs.lz4; outputs = [ "out" "bin" ];
      buildPhase = "make -C lib SHELL=$SHELL CC=gcc lib; make -C programs SHELL=$SHELL CC=gcc lz4";
      installPhase = "mkdir -p $out/lib $out/include $bin/bin; cp -a lib/*.so* lib/*.a $out/lib; cp lib/lz4*.h $out/include; cp programs/lz4 $bin/bin; ln -s lz4 $bin/bin/unlz4"; };
    expat = mk { name = "expat-2.5.0"; src = fetch S.srcs.expat;
      buildPhase = "cd expat/lib; echo > expat_config.h; for f in xmlparse xmlrole xmltok; do gcc -O2 -fPIC -I. -DXML_POOR_ENTROPY -DXML_DTD -DXML_NS -DXML_CONTEXT_BYTES=1024 -DHAVE_MEMMOVE -DHAVE_STDINT_H -DBYTEORDER=1234 -c $f.c; done; gcc -shared -Wl,-soname,libexpat.so.1 -o libexpat.so.1 xmlparse.o xmlrole.o xmltok.o";
      installPhase = "mkdir -p $out/lib $out/include; cp libexpat.so.1 $out/lib; ln -s libexpat.so.1 $out/lib/libexpat.so; cp expat.h expat_external.h $out/include"; };
    libpng = mk { name = "libpng-1.6.39"; outputs = [ "out" "dev" ]; src = fetch S.srcs."libpng1.6"; buildInputs = [ zlib zlib.dev ];
      configureFlags = "--disable-static --build=x86_64-linux-gnu"; };
    optipng = mk { name = "optipng-0.7.7"; src = fetch S.srcs.optipng; buildInputs = [ libpng libpng.dev zlib zlib.dev ];
      buildPhase = "CC=gcc $SHELL ./configure -with-system-libpng -with-system-zlib -prefix=$out; make SHELL=$SHELL -C src/optipng optipng"; installPhase = "mkdir -p $out/bin; cp src/optipng/optipng $out/bin"; };
    ncurses = mk { name = "ncurses-6.4"; src = fetch S.srcs.ncurses;
      configureFlags = "--without-ada --without-cxx --without-cxx-binding --without-manpages --without-tests --without-debug --with-shared --without-normal --enable-widec --with-fallbacks= --build=x86_64-linux-gnu --disable-db-install"; };
    less = mk { name = "less-590"; src = fetch S.srcs.less; buildInputs = [ ncurses ]; configureFlags = "--build=x86_64-linux-gnu"; NIX_CFLAGS = "-I${ncurses}/include/ncursesw"; };
    readline = mk { name = "readline-8.2"; src = fetch S.srcs.readline; buildInputs = [ ncurses ]; configureFlags = "--disable-static --build=x86_64-linux-gnu --with-curses"; makeFlags = "SHLIB_LIBS=-lncursesw"; };
    tcl = mk { name = "tcl-8.6.13"; src = fetch S.srcs."tcl8.6"; buildInputs = [ zlib zlib.dev ];
      buildPhase = "cd unix; $SHELL ./configure --prefix=$out --disable-symbols --build=x86_64-linux-gnu CFLAGS=-O1; make SHELL=$SHELL binaries libraries";
      installPhase = "make SHELL=$SHELL install-binaries install-libraries install-headers; ln -s tclsh8.6 $out/bin/tclsh"; };
    # tcl is a build-time dependency only: sqlite must not refer to it
    sqlite = mk { name = "sqlite-3.40.1"; src = fetch S.srcs.sqlite3; buildInputs = [ zlib zlib.dev readline ncurses ]; nativeTcl = tcl; outputs = [ "out" "dev" ];
      buildPhase = "PATH=$PATH:$nativeTcl/bin; $SHELL ./configure --prefix=$out --disable-tcl --disable-static --build=x86_64-linux-gnu CFLAGS=-O1 --with-readline-lib='-lreadline -lncursesw' --with-readline-inc=; make SHELL=$SHELL TCLSH_CMD=tclsh";
      disallowedReferences = [ tcl ]; };
    gdbm = mk { name = "gdbm-1.23"; src = fetch S.srcs.gdbm; buildInputs = [ readline ncurses ]; configureFlags = "--disable-nls --disable-static --build=x86_64-linux-gnu"; };
    gzip = mk { name = "gzip-1.12"; src = fetch S.srcs.gzip; configureFlags = "--build=x86_64-linux-gnu"; postInstall = "cd $out/bin; for f in *; do case $f in gzip) ;; *) rm $f;; esac; done"; };
    patch = mk { name = "patch-2.7.6"; src = fetch S.srcs.patch; configureFlags = "--build=x86_64-linux-gnu"; };
    tree = mk { name = "tree-2.1.0"; src = fetch S.srcs.tree; buildPhase = "make SHELL=$SHELL CC=gcc tree"; installPhase = "mkdir -p $out/bin; cp tree $out/bin"; };
    xz = mk { name = "xz-5.4.1"; src = fetch S.srcs.xz-utils; outputs = [ "out" "bin" ]; configureFlags = "--disable-nls --disable-static --disable-doc --disable-scripts --bindir=${placeholder "bin"}/bin --build=x86_64-linux-gnu"; };
    file = mk { name = "file-5.44"; src = fetch S.srcs.file; buildInputs = [ zlib zlib.dev xz ]; configureFlags = "--disable-static --disable-libseccomp --disable-bzlib --build=x86_64-linux-gnu"; };
    lua = mk { name = "lua-5.4.4"; src = fetch S.srcs."lua5.4"; buildInputs = [ readline ncurses ];
      buildPhase = ''make SHELL=$SHELL -C src CC=gcc MYCFLAGS="-fPIC -DLUA_USE_LINUX -DLUA_USE_READLINE" MYLIBS="-Wl,-E -ldl -lreadline -lncursesw" AR="ar rcu" all'';
      installPhase = "mkdir -p $out/bin $out/lib $out/include; cp src/lua src/luac $out/bin; cp src/liblua.a $out/lib; cp src/lua.h src/luaconf.h src/lualib.h src/lauxlib.h $out/include"; };
    lua-cjson = mk { name = "lua-cjson-2.1.0"; src = fetch S.srcs.lua-cjson; buildInputs = [ lua ];
      buildPhase = "gcc -O2 -fPIC -shared -DLUA_COMPAT_5_3 -o cjson.so lua_cjson.c strbuf.c fpconv.c -lm"; installPhase = "mkdir -p $out/lib/lua/5.4; cp cjson.so $out/lib/lua/5.4"; };
    lua-lpeg = mk { name = "lua-lpeg-1.0.2"; src = fetch S.srcs.lua-lpeg; buildInputs = [ lua ];
      buildPhase = "gcc -O2 -fPIC -shared -o lpeg.so lp*.c"; installPhase = "mkdir -p $out/lib/lua/5.4; cp lpeg.so $out/lib/lua/5.4; cp re.lua $out/lib/lua/5.4"; };
    dash = mk { name = "dash-0.5.12"; src = fetch S.srcs.dash; configureFlags = "--build=x86_64-linux-gnu"; };
    hello = mk { __structuredAttrs = true; name = "hello-2.10"; src = fetch S.srcs.hello; configureFlags = "--disable-nls --build=x86_64-linux-gnu";
      outputChecks.out.allowedReferences = [ glibc "out" ]; };

    # meta-packages: a profile of symlinks, and the closure of it as text
    env = drv { name = "env"; paths = [ hello lua lua-cjson sqlite optipng less dash tree gdbm file xz.bin lz4.bin gzip patch bzip2 ];
      args = [ "-ec" ''PATH=$seed/bin; mkdir -p $out/bin; for p in $paths; do for f in $p/bin/*; do [ -e $f ] && ln -sf $f $out/bin/; done; done'' ]; };
    closure = drv { name = "closure-info"; exportReferencesGraph = [ "graph" env ];
      args = [ "-ec" ''PATH=$seed/bin; mkdir $out; cp graph $out/registration; grep '^/nix/store/' graph | sort -u > $out/store-paths'' ]; };
    test = drv { name = "test"; inherit env; lua_cjson = lua-cjson; lua_lpeg = lua-lpeg;
      args = [ "-ec" ''
        export PATH=$env/bin:$seed/bin; exec > $out
        hello; echo 'select sqlite_version(), sum(value) from json_each("[1,2,3]");' | sqlite3 2>&1 || echo 'select 1;' | sqlite3
        LUA_CPATH="$lua_cjson/lib/lua/5.4/?.so;$lua_lpeg/lib/lua/5.4/?.so" lua -e 'print(require("cjson").encode({1,2,3}), require("lpeg").version())'
        echo hello | bzip2 | bunzip2; echo hello | xz | xz -d; echo hello | lz4 -c | lz4 -dc; echo hello | gzip | gzip -d
        dash -c 'echo dash $((6*7))'; less --version | head -1; optipng --version 2>&1 | head -1; tree --version | head -c 20; file --version | head -1; gdbmtool --version | head -1
      '' ]; };
  };
in pkgs
