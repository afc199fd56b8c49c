// Google's own test library for security rules, unmodified. It speaks gRPC.
import {
  initializeTestEnvironment, assertFails, assertSucceeds,
} from "@firebase/rules-unit-testing";
import {
  collection, deleteDoc, doc, getDoc, getDocs, onSnapshot, query, setDoc, setLogLevel, where,
} from "firebase/firestore";

setLogLevel("silent");
const [host, port] = process.argv[2].split(":");
const rules = `rules_version = '2';
service cloud.firestore { match /databases/{db}/documents {
  match /users/{uid} { allow read, write: if request.auth.uid == uid; }
  match /public/{id} { allow read: if true; }
  match /shared/{id} {
    allow read: if exists(/databases/$(db)/documents/members/$(request.auth.uid));
  }
} }`;
const firestore = { host, port: Number(port), rules };
const environment = await initializeTestEnvironment({ projectId: "demo-rules", firestore });
await environment.clearFirestore();
const alice = environment.authenticatedContext("alice").firestore();
const nobody = environment.unauthenticatedContext().firestore();
await assertSucceeds(setDoc(doc(alice, "users/alice"), { a: 1 }));
await assertSucceeds(getDoc(doc(alice, "users/alice")));
await assertSucceeds(getDoc(doc(nobody, "public/x")));
await assertFails(setDoc(doc(alice, "users/bob"), { a: 1 }));
await assertFails(getDoc(doc(nobody, "users/alice")));
await assertFails(setDoc(doc(nobody, "public/x"), {}));
await assertFails(getDocs(collection(alice, "users")));
await environment.withSecurityRulesDisabled(async (context) => {
  await setDoc(doc(context.firestore(), "users/bob"), { b: 1 });
  const found = await getDoc(doc(context.firestore(), "users/bob"));
  if (!found.exists()) throw new Error("the write without rules was lost");
});
// A listener that loses its permission hears so, and nothing after it.
const asAdministrator = (act) =>
  environment.withSecurityRulesDisabled((context) => act(context.firestore()));
for (const target of [
  (database) => doc(database, "shared/d"),
  (database) => query(collection(database, "shared"), where("n", ">", 0)),
]) {
  await asAdministrator((database) => setDoc(doc(database, "members/alice"), {}));
  await asAdministrator((database) => setDoc(doc(database, "shared/d"), { n: 1 }));
  let first;
  const heard = new Promise((resolve) => { first = resolve; });
  const refused = new Promise((resolve) => {
    onSnapshot(target(alice), () => first(), (error) => resolve(error.code));
  });
  await heard;
  await asAdministrator((database) => deleteDoc(doc(database, "members/alice")));
  await asAdministrator((database) => setDoc(doc(database, "shared/d"), { n: 2 }));
  const code = await refused;
  if (code !== "permission-denied") throw new Error(`the listener heard ${code}`);
}
await environment.clearFirestore();
await environment.withSecurityRulesDisabled(async (context) => {
  const found = await getDoc(doc(context.firestore(), "users/bob"));
  if (found.exists()) throw new Error("clearFirestore left a document");
});
const broken = { host, port: Number(port), rules: "service cloud.firestore {" };
const loaded = await initializeTestEnvironment({ projectId: "demo-broken", firestore: broken })
  .then(() => true, () => false);
if (loaded) throw new Error("rules that do not parse were loaded");
await environment.cleanup();
console.log("ok");
process.exit(0);
