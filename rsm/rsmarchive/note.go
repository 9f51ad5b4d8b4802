package rsmarchive

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"maru.example/vfs"
)

// Checkpoints are signed as in C2SP's signed-note: the text, an empty line, and lines
// "— <key's name> <base64 of 4 bytes that name the key, and the signature>". The keys are
// PEM files as openssl makes them.

const (
	signaturePrefix = "— "
	noteEd25519     = 1 // the algorithm's number in the key's hash
	keyHashBytes    = 4
	maxSignatures   = 16
	privateType     = "PRIVATE KEY"
	publicType      = "PUBLIC KEY"
	maxKeyBytes     = 4 << 10
)

// Signer signs checkpoints.
type Signer struct {
	name string
	key  ed25519.PrivateKey
}

// Verifier says whether a key signed a checkpoint.
type Verifier struct {
	name string
	hash [keyHashBytes]byte
	key  ed25519.PublicKey
}

// NewSigner returns the signer of a private key in PEM (PKCS #8, Ed25519), under a name:
// one word, such as the cluster's.
func NewSigner(name string, privatePEM []byte) (*Signer, error) {
	der, err := decodePEM(privatePEM, privateType)
	if err != nil {
		return nil, err
	}
	any8, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	key, ok := any8.(ed25519.PrivateKey)
	if !ok || !oneWord(name) {
		return nil, fmt.Errorf("a key of the type %T with the name %q: want Ed25519, and one word", any8, name)
	}
	return &Signer{name: name, key: key}, nil
}

// NewVerifier returns the verifier of a public key in PEM (SubjectPublicKeyInfo, Ed25519),
// under the name with which it signs.
func NewVerifier(name string, publicPEM []byte) (*Verifier, error) {
	der, err := decodePEM(publicPEM, publicType)
	if err != nil {
		return nil, err
	}
	anyKey, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, fmt.Errorf("public key: %w", err)
	}
	key, ok := anyKey.(ed25519.PublicKey)
	if !ok || !oneWord(name) {
		return nil, fmt.Errorf("a key of the type %T with the name %q: want Ed25519, and one word", anyKey, name)
	}
	return newVerifier(name, key), nil
}

func newVerifier(name string, key ed25519.PublicKey) *Verifier {
	sum := sha256.Sum256(append([]byte(name+"\n"+string(rune(noteEd25519))), key...))
	return &Verifier{name: name, hash: [keyHashBytes]byte(sum[:]), key: key}
}

// Verifier returns the signer's verifier.
func (s *Signer) Verifier() *Verifier {
	public, ok := s.key.Public().(ed25519.PublicKey)
	if !ok {
		panic("rsmarchive: an Ed25519 key has another public key")
	}
	return newVerifier(s.name, public)
}

// sign returns the text with a signature. The text ends with a newline, and has no empty line.
func (s *Signer) sign(text []byte) []byte {
	hash := s.Verifier().hash
	signature := append(hash[:], ed25519.Sign(s.key, text)...)
	b := append(bytes.Clone(text), '\n')
	return fmt.Appendf(b, "%s%s %s\n", signaturePrefix, s.name, base64.StdEncoding.EncodeToString(signature))
}

// open returns the text of a note, if the key signed it. Other signatures are passed over.
func (v *Verifier) open(note []byte) ([]byte, error) {
	if len(note) > MaxCheckpointBytes {
		return nil, fmt.Errorf("%w: it has %d bytes", ErrCheckpoint, len(note))
	}
	at := bytes.LastIndex(note, []byte("\n\n"))
	if at < 0 || note[len(note)-1] != '\n' {
		return nil, fmt.Errorf("%w: it has no signature", ErrCheckpoint)
	}
	text, rest := note[:at+1], strings.TrimSuffix(string(note[at+2:]), "\n")
	lines := strings.Split(rest, "\n")
	if len(lines) > maxSignatures {
		return nil, fmt.Errorf("%w: it has %d signatures", ErrCheckpoint, len(lines))
	}
	signed := false
	for _, line := range lines {
		name, signature, err := parseSignature(line)
		if err != nil {
			return nil, err
		}
		if name != v.name || len(signature) != keyHashBytes+ed25519.SignatureSize || [keyHashBytes]byte(signature) != v.hash {
			continue
		}
		if !ed25519.Verify(v.key, text, signature[keyHashBytes:]) {
			return nil, fmt.Errorf("%w: the signature of %s is not of this text", ErrCheckpoint, name)
		}
		signed = true
	}
	if !signed {
		return nil, fmt.Errorf("%w: it is not signed by the key %s+%x", ErrCheckpoint, v.name, v.hash)
	}
	return text, nil
}

func parseSignature(line string) (name string, signature []byte, err error) {
	rest, ok := strings.CutPrefix(line, signaturePrefix)
	name, encoded, ok2 := strings.Cut(rest, " ")
	signature, err = base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || !ok2 || err != nil || name == "" || len(signature) < keyHashBytes {
		return "", nil, fmt.Errorf("%w: %.100q is no signature", ErrCheckpoint, line)
	}
	return name, signature, nil
}

// GenerateKey returns a new pair of keys in PEM, made of the given randomness: crypto/rand.Reader.
func GenerateKey(random io.Reader) (privatePEM, publicPEM []byte, err error) {
	public, private, err := ed25519.GenerateKey(random)
	if err != nil {
		return nil, nil, err
	}
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	publicDER, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: privateType, Bytes: privateDER}), pem.EncodeToMemory(&pem.Block{Type: publicType, Bytes: publicDER}), nil
}

// WriteKeys writes a pair of keys to name and name.pub, durably, readable by their owner alone. Neither may exist.
func WriteKeys(fsys vfs.FS, name string, privatePEM, publicPEM []byte) error {
	for _, f := range []struct {
		name    string
		content []byte
	}{{name + ".pub", publicPEM}, {name, privatePEM}} {
		if err := writeFile(fsys, f.name, f.content); err != nil {
			return err
		}
	}
	return vfs.SyncDir(fsys, path.Dir(name))
}

func decodePEM(b []byte, blockType string) ([]byte, error) {
	if len(b) > maxKeyBytes {
		return nil, fmt.Errorf("a key file of %d bytes", len(b))
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != blockType {
		return nil, errors.New("no PEM block of the type " + blockType)
	}
	return block.Bytes, nil
}
