// Conversations in the browser's IndexedDB, pictures included; other tabs hear of each change.

/** @typedef {import("./conversation.js").Conversation} Conversation */

const NAME = "llava-edge";
const STORE = "conversations";
const channel = new BroadcastChannel(NAME);

/** @type {Promise<IDBDatabase> | undefined} */
let opened;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

/**
 * @template T
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest<T>} act
 * @returns {Promise<T>} once the transaction is complete
 */
async function transact(mode, act) {
  const transaction = (await open()).transaction(STORE, mode);
  const request = act(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

/**
 * All conversations, the newest first. Their pictures stay on the disk until they are looked at.
 * @returns {Promise<Conversation[]>}
 */
export async function all() {
  const found = await transact("readonly", (store) => store.getAll());
  return found.sort((one, other) => other.updated - one.updated);
}

/** @param {Conversation} conversation */
export async function save(conversation) {
  await transact("readwrite", (store) => store.put(conversation));
  channel.postMessage("changed");
}

/** @param {string} id */
export async function remove(id) {
  await transact("readwrite", (store) => store.delete(id));
  channel.postMessage("changed");
}

/** @param {() => void} act called when another tab has saved or removed something */
export function onChangeElsewhere(act) {
  channel.addEventListener("message", act);
}
