"""`trainer-hooks runs watch`: where it looks (`local`, `remote`), and how it shows that (`screen`, `lines`)."""
