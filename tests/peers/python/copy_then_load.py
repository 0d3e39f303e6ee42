"""Copy an object to the folder of COPIES by boto3, as aws s3 cp does, and load
the copy by load_file; print its bytes.
"""
import os
import sys
import tempfile
import urllib.parse

import boto3
import boto3.s3.transfer
import botocore.config
import safetensors.numpy

uri = urllib.parse.urlparse(sys.argv[1])
client = boto3.client("s3", config=botocore.config.Config(s3={"addressing_style": "path"}, max_pool_connections=16))
config = boto3.s3.transfer.TransferConfig(max_concurrency=16)

print("ready", flush=True)
sys.stdin.readline()
with tempfile.TemporaryDirectory(dir=os.environ["COPIES"]) as folder:
    copy = os.path.join(folder, "copy")
    client.download_file(uri.netloc, uri.path.lstrip("/"), copy, Config=config)
    print(sum(array.nbytes for array in safetensors.numpy.load_file(copy).values()), flush=True)
