#!/bin/sh
# Makes the files of this directory with OpenSSL 3: keys in every encoding that
# OpenSSL writes, the password is "secret", and PKCS#12 files. The certificates are
# never verified, only read.
set -eu
cd "$(dirname "$0")"
days=36500

openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.pkcs8.key -out rsa.crt -days $days -subj /CN=rsa
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ec.pkcs8.key -out ec.crt -days $days -subj /CN=ec
openssl req -x509 -newkey ed25519 -nodes -keyout ed25519.pkcs8.key -out ed25519.crt -days $days -subj /CN=ed25519

openssl rsa -in rsa.pkcs8.key -traditional -out rsa.pkcs1.key
openssl rsa -in rsa.pkcs8.key -traditional -aes128 -passout pass:secret -out rsa.old-aes128.key
openssl rsa -in rsa.pkcs8.key -traditional -des3 -passout pass:secret -out rsa.old-des3.key
{ openssl ecparam -name prime256v1; openssl ec -in ec.pkcs8.key; } >ec.sec1.key
openssl ec -in ec.pkcs8.key -aes256 -passout pass:secret -out ec.old-aes256.key
for key in rsa ec ed25519; do
	openssl pkcs8 -topk8 -in $key.pkcs8.key -v2 aes256 -passout pass:secret -out $key.aes256.key
done
openssl pkcs8 -topk8 -in ec.pkcs8.key -v2 des3 -v2prf hmacWithSHA1 -passout pass:secret -out ec.des3.key
openssl pkcs8 -topk8 -in ec.pkcs8.key -scrypt -passout pass:secret -out ec.scrypt.key
openssl pkcs8 -topk8 -in ec.pkcs8.key -v1 PBE-SHA1-3DES -passout pass:secret -out ec.pbes1.key
openssl pkcs8 -topk8 -in ec.pkcs8.key -v2 aes256 -iter 5000000 -passout pass:secret -out ec.slow.key

# A root, a CA between, and a host, for PKCS#12.
ca="basicConstraints=critical,CA:TRUE"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout root.tmp -out root.crt -days $days -subj /CN=root -addext $ca
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout between.tmp -out between.req -subj /CN=between
echo "$ca" >ca.ext
openssl x509 -req -in between.req -CA root.crt -CAkey root.tmp -days $days -extfile ca.ext -out between.crt
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout host.tmp -out host.req -subj /CN=host
openssl x509 -req -in host.req -CA between.crt -CAkey between.tmp -days $days -out host.crt
cat root.crt between.crt >cas.crt
export="openssl pkcs12 -export -inkey host.tmp -in host.crt -certfile cas.crt"
$export -passout pass:secret -out modern.p12
$export -passout pass:secret -legacy -out legacy.p12
$export -passout pass: -out empty-password.p12
$export -passout pass: -keypbe NONE -certpbe NONE -nomac -out open.p12
openssl pkcs12 -export -nokeys -in cas.crt -passout pass:secret -out no-key.p12
rm -f ./*.tmp ./*.req ca.ext between.crt root.crt
