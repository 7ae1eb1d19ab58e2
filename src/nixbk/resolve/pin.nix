# What Nix before 2.19 does not say when it fetches a tree that is no flake: how to have it again.
#
#   url     = flake reference, not of a path
#   answer  = the attributes of its locked reference, as far as Nix tells them
{ url }:
let
  reference = builtins.parseFlakeRef url;
  # as the command fetches it: not every server gives a part of a history
  whole = if reference.type == "git" then { shallow = false; } else { };
  tree = builtins.fetchTree (whole // removeAttrs reference [ "dir" ]);
  told = {
    lastModified = null;
    narHash = null;
    rev = null;
    revCount = null;
  };
in
reference // builtins.intersectAttrs told tree
