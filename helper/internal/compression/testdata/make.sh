#!/bin/sh
# Makes the files beside it with XZ Utils, zstd, bzip2 and gzip; each holds text.txt once, twice
# where its name says so; zeros.* hold the archive of a file of 160 MiB of zeros. refused-* are
# not to be read.
set -eu
cd "$(dirname "$0")"
seq 1 20000 > text.txt
touch -d @1 text.txt

xz -6 < text.txt > plain.xz
xz --block-size=20000 -T2 < text.txt > blocks.xz
{ xz < text.txt; xz --check=sha256 < text.txt; } > twice.xz
{ xz < text.txt; head -c 8 /dev/zero; xz < text.txt; head -c 4 /dev/zero; } > twice-padded.xz
xz --check=none < text.txt > no-check.xz
xz --check=crc32 --x86 --delta=dist=4 --lzma2 < text.txt > filters.xz
xz --lzma2=dict=128MiB < text.txt > window-128.xz
xz --lzma2=dict=192MiB < text.txt > refused-window.xz
{ xz < text.txt; head -c 3 /dev/zero; } > refused-padding.xz
xz --format=lzma < text.txt > refused-format.xz

zstd -q -3 < text.txt > plain.zst
zstd -q --ultra -22 < text.txt > ultra.zst
zstd -q -f --no-check text.txt -o one-segment.zst
{ zstd -q < text.txt; printf '\120\052\115\030\004\000\000\000skip'; zstd -q -19 < text.txt; } > twice.zst
zstd -q --long=27 < text.txt > window-128.zst
zstd -q --ultra -22 --long=28 < text.txt > refused-window.zst
split -l 200 text.txt part-
zstd -q -f --train part-* --maxdict=4096 -o dictionary
zstd -q -D dictionary < text.txt > refused-dictionary.zst
rm part-* dictionary

gzip -9 -n < text.txt > plain.gz
{ gzip -1 -c text.txt; gzip -n < text.txt; } > twice.gz
{ gzip -n < text.txt; head -c 1 /dev/zero; } > refused-padding.gz

bzip2 < text.txt > plain.bz2
{ bzip2 -1 < text.txt; bzip2 < text.txt; } > twice.bz2

# The archive of a file; all numbers are of 64 bits, little endian.
zeros() {
    printf '\015\0\0\0\0\0\0\0nix-archive-1\0\0\0\001\0\0\0\0\0\0\0(\0\0\0\0\0\0\0'
    printf '\004\0\0\0\0\0\0\0type\0\0\0\0\007\0\0\0\0\0\0\0regular\0'
    printf '\010\0\0\0\0\0\0\0contents\0\0\0\012\0\0\0\0'
    head -c 167772160 /dev/zero
    printf '\001\0\0\0\0\0\0\0)\0\0\0\0\0\0\0'
}
zeros | xz --lzma2=dict=128MiB > zeros.xz
zeros | zstd -q --long=27 > zeros.zst
zeros | bzip2 > zeros.bz2
zeros | gzip -9 -n > zeros.gz
