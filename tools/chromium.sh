#!/bin/sh
# A Chromium for the page's tests: installed where that is possible, else said to be missing.
for program in chromium chromium-browser google-chrome; do
  command -v "$program" > /dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get > /dev/null; then
  apt-get install -y -qq --no-install-recommends chromium > /dev/null 2>&1 && exit 0
  apt-get update -qq > /dev/null 2>&1 && apt-get install -y -qq --no-install-recommends chromium > /dev/null 2>&1 && exit 0
fi
echo "NO BROWSER: the page is not tested. Install one first: apt-get install chromium" >&2
