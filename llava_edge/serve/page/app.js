// Joins the parts of the page.

import { Chat } from "./chat.js";
import { models, onKeyWanted } from "./client.js";
import { Composer } from "./composer.js";
import { isComplete, newConversation } from "./conversation.js";
import { fill } from "./dialogs.js";
import { byId, element } from "./dom.js";
import { count } from "./figures.js";
import { choosePictures } from "./intake.js";
import { exportAll, importFrom, kept } from "./library.js";
import { notify } from "./notices.js";
import { changeOptions } from "./options.js";
import { startShortcuts } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { onChangeElsewhere, remove, save } from "./store.js";
import { startThemeSwitch } from "./theme_switch.js";
import { Transcript } from "./transcript.js";
import { look, startWatch } from "./watch.js";

/** @type {import("./client.js").Model[]} */
let served = [];

const transcript = new Transcript({ edit, again: (at) => chat.again(at) });
const chat = new Chat(transcript, {
  model: () => model()?.id ?? "",
  changed: showAll,
  failed: look,
});
const composer = new Composer({ send, stop: () => chat.stop(), editLast });
const sidebar = new Sidebar({ open: go, rename, remove: removeConversation });

/** The model that is asked. */
function model() {
  return served[byId("models").selectedIndex] ?? served[0];
}

function showAll() {
  composer.busy = chat.busy;
  const { title, id } = chat.conversation;
  byId("title").textContent = title || "New conversation";
  document.title = title ? `${title} · llava-edge` : "llava-edge";
  showUsed();
  showList();
}

/** How full the context is after the last answer. */
function showUsed() {
  const last = chat.conversation.turns.findLast(
    (turn) => turn.role === "assistant" && turn.figures?.used,
  );
  const used = last?.role === "assistant" ? (last.figures?.used ?? 0) : 0;
  const context = model()?.context ?? 0;
  byId("used").textContent = used && context ? `${count(used)} of ${count(context)} tokens` : "";
}

async function showList() {
  sidebar.show(await kept(), chat.conversation.id);
}

/** Shows what another tab or a file has changed. */
async function refresh() {
  await showList();
  const { id, updated } = chat.conversation;
  const newer = (await kept()).find((one) => one.id === id && one.updated > updated);
  if (newer && isComplete(newer) && !chat.busy && !composer.editing) chat.open(newer);
}

/** Shows the conversation that the address names, or a new one. */
async function openByAddress() {
  const id = location.hash.slice(1);
  if (id && id === chat.conversation.id) return;
  const found = id && (await kept()).find((one) => one.id === id);
  if (location.hash.slice(1) !== id) return; // it has changed meanwhile
  if (composer.editing) composer.clear(); // other words wait to be sent here
  chat.open(found || newConversation());
  composer.focus();
}

/** @param {string} id of a conversation, "" for a new one */
async function go(id) {
  history.pushState(null, "", id ? `#${id}` : location.pathname);
  await openByAddress();
}

function create() {
  sidebar.slide(false);
  go("");
}

/**
 * @param {import("./conversation.js").Question} question
 * @param {number | null} at
 */
function send(question, at) {
  const { id } = chat.conversation;
  if (location.hash.slice(1) !== id) history.pushState(null, "", `#${id}`);
  chat.send(question, at);
}

/** @param {number} at */
function edit(at) {
  const turn = chat.conversation.turns[at];
  if (turn?.role === "user") composer.edit(turn, at);
}

function editLast() {
  edit(chat.conversation.turns.findLastIndex((turn) => turn.role === "user"));
}

/**
 * @param {string} id
 * @param {string} title
 */
async function rename(id, title) {
  const found = chat.live(id) ?? (await kept()).find((one) => one.id === id);
  if (!found) return;
  Object.assign(found, { title, named: true });
  await save(found);
  showAll();
}

/** @param {string} id */
async function removeConversation(id) {
  await chat.leave(id);
  const found = (await kept()).find((one) => one.id === id);
  if (!found) return;
  await remove(id);
  if (chat.conversation.id === id) await go("");
  await showList();
  const undo = async () => {
    await save(found);
    go(id);
  };
  notify(`Deleted “${found.title}”.`, { label: "Undo", act: undo });
}

/** @param {string} reason */
async function askForKey(reason) {
  byId("key-reason").textContent = reason;
  byId("key").querySelector("form").reset();
  return /** @type {string | null} */ ((await fill("key"))?.get("key") ?? null);
}

/** @param {boolean} ready */
async function serverChanged(ready) {
  composer.ready = ready;
  if (!ready) return;
  try {
    served = await models();
    const chosen = byId("models").value;
    byId("models").replaceChildren(
      ...served.map(({ id }) => element("option", { selected: id === chosen }, id)),
    );
    showModel();
  } catch (error) {
    notify(/** @type {Error} */ (error).message);
  }
}

function showModel() {
  const several = served.length > 1;
  byId("models").hidden = !several;
  byId("model").hidden = several;
  byId("model").textContent = model()?.id ?? "";
  byId("device").textContent = model()?.device ?? "";
  showUsed();
}

/** Stops the answer, or leaves off editing; whether there was either. */
function leaveOff() {
  if (!composer.editing) return chat.stop();
  composer.clear();
  return true;
}

startThemeSwitch();
startShortcuts({
  stop: leaveOff,
  create,
  search: () => sidebar.focusSearch(),
  pictures: choosePictures,
  options: changeOptions,
});
onKeyWanted(askForKey);
onChangeElsewhere(refresh);
byId("new").onclick = create;
byId("open-options").onclick = changeOptions;
byId("models").onchange = showModel;
byId("export").onclick = exportAll;
byId("import").onclick = () => byId("import-file").click();
byId("import-file").onchange = async (/** @type {{target: any}} */ { target }) => {
  const [file] = target.files;
  target.value = "";
  await importFrom(file);
  refresh();
};
for (const chip of document.querySelectorAll(".chip")) {
  chip.addEventListener("click", () => composer.suggest(chip.textContent ?? ""));
}
addEventListener("popstate", openByAddress);
await openByAddress();
startWatch(serverChanged);
