// A Worker: finds the number whose derived key begins as it is told to (ALTCHA version 2, PBKDF2).
const bytes = (hex) => Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
const NUMBERS_MAX = 1 << 20;

onmessage = async ({ data: { parameters, from, step } }) => {
  const { algorithm, cost, keyLength, keyPrefix, nonce, salt } = parameters;
  const digest = algorithm.split("/")[1];
  const head = bytes(nonce);
  const password = new Uint8Array(head.length + 4);
  password.set(head);
  const view = new DataView(password.buffer);
  const options = { name: "PBKDF2", hash: digest, salt: bytes(salt), iterations: cost };
  for (let n = from; n < NUMBERS_MAX; n += step) {
    view.setUint32(head.length, n);
    const key = await crypto.subtle.importKey("raw", password, "PBKDF2", false, ["deriveBits"]);
    const derived = hex(await crypto.subtle.deriveBits(options, key, keyLength * 8));
    if (derived.startsWith(keyPrefix)) { postMessage({ derived }); return; }
    if ((n - from) % (step * 50) === 0) postMessage({ tried: n });
  }
  postMessage({ derived: null });
};
