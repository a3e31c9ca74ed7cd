# Sourced by the other scripts: make_venv FOLDER PYTHON EXTRA makes a virtual environment with the
# package installed in it, and does nothing when it is there and as new as what it was made from.
make_venv() {
  local folder="$1" python="$2" extra="$3"
  local stamp="$folder/installed${extra}"
  if [ -f "$stamp" ] && [ ! pyproject.toml -nt "$stamp" ] && [ ! constraints.txt -nt "$stamp" ]; then
    return
  fi
  if [ ! -x "$folder/bin/python" ]; then
    echo "Making $folder with $("$python" --version)"
    "$python" -m venv "$folder"
  fi
  echo "Installing recipe_jax${extra} (a few hundred megabytes the first time)"
  "$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    --constraint constraints.txt --editable ".${extra}"
  touch "$stamp"
}
