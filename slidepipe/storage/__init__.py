"""What every store needs: files that appear whole, shards, the JPEG codec, block ledgers, OME metadata."""
