# Built with --max-silent-time 3.
{ run, fails, ... }:
{
  silent = fails "timed-out" [ "after 3 seconds" ] (run "silent" { } "echo begun; sleep 100");
  silent-at-once = fails "timed-out" [ "after 3 seconds" ] (run "silent-at-once" { } "sleep 100");
  talking = run "talking" { } "for n in 1 2 3 4 5; do sleep 1; echo $n; done; echo > $out";
  talking-without-lines = run "without-lines" { } "for n in 1 2 3 4 5; do sleep 1; printf .; done; echo > $out";
}
